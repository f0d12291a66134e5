"""The load pipeline: what a recipe does to a batch after it was read, on the batch's device.

In:  a `Batch` whose signal (B, C, T) carries margins, at the shards' rate and band.
Out: the same batch at the recipe's rate and band, margins cut, normalised, clipped.

Order: band-pass, resample, normalise, clip. A corner that the shards already have is not applied
twice, nor a low-pass at or above half the rate. Away from the ends of a recording the result equals
the offline conversion with the same corners (the same kernels, valid samples only).
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.config import LoadConfig
from physioscale.signal import (
    fir_kernel,
    margin_samples,
    rational_ratio,
    resample_margin_samples,
    resampling_kernel,
)
from physioscale.signal.device import apply_fir_torch, resample_torch
from physioscale.streaming.batch import Batch

# Added to a standard deviation of exactly 0 (a flat channel), as REVE's released code does.
_FLAT_STD = 1e-10

Band = tuple[float | None, float | None]


class LoadPipeline:
    """Callable on batches; keeps the kernels of each rate it has met, per device."""

    def __init__(self, config: LoadConfig) -> None:
        self.config = config
        self._kernels: dict[tuple[str, float, Band, torch.device], Tensor | None] = {}

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch as the model wants it. No host synchronisation."""
        rate, band = batch.sampling_rate_hz, batch.stored_band_hz
        signal = batch.signal
        kernel = self._kernel("band", rate, band, signal.device)
        if kernel is not None:
            signal = apply_fir_torch(signal, kernel)
        resampling = self._kernel("rate", rate, band, signal.device)
        if resampling is not None:
            up, down = resampling_ratio(self.config, rate)
            signal = resample_torch(signal, resampling, up=up, down=down)
        signal = self._normalise(signal, batch)
        if self.config.clip is not None:
            signal = signal.clamp(-self.config.clip, self.config.clip)
        return dataclasses.replace(
            batch,
            signal=signal,
            sampling_rate_hz=self.config.sampling_rate_hz or rate,
            margin=(0, 0),
        )

    def _normalise(self, signal: Tensor, batch: Batch) -> Tensor:
        if self.config.normalise == "none":
            return signal
        if self.config.normalise == "window":
            mean = signal.mean(dim=-1, keepdim=True)
            std = signal.std(dim=-1, keepdim=True, correction=0)
        else:
            mean, std = batch.mean.unsqueeze(-1), batch.std.unsqueeze(-1)
        return (signal - mean) / torch.where(std == 0, _FLAT_STD, std)

    def _kernel(self, kind: str, rate: float, band: Band, device: torch.device) -> Tensor | None:
        place = (kind, rate, band, device)
        if place not in self._kernels:
            if kind == "band":
                kernel = _band_kernel(rate, *_missing_corners(self.config, rate, band))
            else:
                kernel = _rate_kernel(*resampling_ratio(self.config, rate))
            self._kernels[place] = None if kernel is None else torch.from_numpy(kernel).to(device)
        return self._kernels[place]


def load_margin(load: LoadConfig, rate_hz: float, *, stored_band_hz: Band) -> int:
    """Return how many stored samples the pipeline needs on each side of a window."""
    kernel = _band_kernel(rate_hz, *_missing_corners(load, rate_hz, stored_band_hz))
    up, down = resampling_ratio(load, rate_hz)
    resampling = 0 if (up, down) == (1, 1) else resample_margin_samples(up=up, down=down)
    return resampling + (0 if kernel is None else margin_samples(kernel))


def resampling_ratio(load: LoadConfig, rate_hz: float) -> tuple[int, int]:
    """Return (up, down) from a stored rate to the load rate; (1, 1) where it is kept."""
    if load.sampling_rate_hz is None or load.sampling_rate_hz == rate_hz:
        return 1, 1
    return rational_ratio(rate_hz, load.sampling_rate_hz)


def _missing_corners(load: LoadConfig, rate_hz: float, stored: Band) -> Band:
    """Return the corners that the shards do not have yet and that lie below half the rate."""
    low = None if load.low_cut_hz is None or load.low_cut_hz == stored[0] else load.low_cut_hz
    high = load.high_cut_hz
    if high is not None and (high == stored[1] or high >= rate_hz / 2):
        high = None
    return low, high


@functools.cache
def _band_kernel(
    rate_hz: float, low_hz: float | None, high_hz: float | None
) -> NDArray[np.float64] | None:
    if low_hz is None and high_hz is None:
        return None
    return fir_kernel(rate_hz, low_hz=low_hz, high_hz=high_hz)


@functools.cache
def _rate_kernel(up: int, down: int) -> NDArray[np.float64] | None:
    return None if (up, down) == (1, 1) else resampling_kernel(up=up, down=down)
