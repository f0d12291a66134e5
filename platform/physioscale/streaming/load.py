"""The load pipeline: what a recipe does to a batch after it was read, on the batch's device.

In:  a `Batch` whose signal (B, C, T) carries margins, at the shards' rate and band.
Out: the same batch at the recipe's rate and band, margins cut, normalised, clipped.

Order: re-reference, band-pass, notch, resample, normalise, clip. A filter that the shards already
have is not applied twice, nor a low-pass at or above half the rate. Away from the ends of a
recording the result equals the offline conversion with the same settings (the same kernels, valid
samples only).
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.config import LoadConfig
from physioscale.signal import (
    fir_kernel,
    margin_samples,
    notch_kernel,
    rational_ratio,
    resample_margin_samples,
    resampling_kernel,
)
from physioscale.signal.device import apply_fir_torch, resample_torch
from physioscale.streaming.batch import Batch
from physioscale.streaming.selection import StoredFilters

# Added to a standard deviation of exactly 0 (a flat channel), as REVE's released code does.
_FLAT_STD = 1e-10


class LoadPipeline:
    """Callable on batches; keeps the kernels of each rate it has met, per device."""

    def __init__(self, config: LoadConfig) -> None:
        self.config = config
        self._kernels: dict[tuple[float, StoredFilters, torch.device], _Kernels] = {}

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch as the model wants it. No host synchronisation."""
        rate, config = batch.sampling_rate_hz, self.config
        kernels = self._kernels_of(rate, batch.stored, batch.signal.device)
        signal = self._reference(batch)
        for kernel in kernels.filters:
            signal = apply_fir_torch(signal, kernel)
        if kernels.resampling is not None:
            up, down = resampling_ratio(config, rate)
            signal = resample_torch(signal, kernels.resampling, up=up, down=down)
        signal = self._normalise(signal, batch)
        if config.clip is not None:
            signal = signal.clamp(-config.clip, config.clip)
        return dataclasses.replace(
            batch,
            signal=signal,
            sampling_rate_hz=config.sampling_rate_hz or rate,
            margin=(0, 0),
            num_references=0,
        )

    def _reference(self, batch: Batch) -> Tensor:
        if not self.config.reference:
            return batch.signal
        if batch.num_references == 0:
            return batch.signal - batch.signal.mean(dim=1, keepdim=True)
        kept, references = batch.signal.tensor_split([-batch.num_references], dim=1)
        return kept - references.mean(dim=1, keepdim=True)

    def _normalise(self, signal: Tensor, batch: Batch) -> Tensor:
        if self.config.normalise == "none":
            return signal
        if self.config.normalise == "window":
            mean = signal.mean(dim=-1, keepdim=True)
            std = signal.std(dim=-1, keepdim=True, correction=0)
        else:
            mean, std = batch.mean.unsqueeze(-1), batch.std.unsqueeze(-1)
        return (signal - mean) / torch.where(std == 0, _FLAT_STD, std)

    def _kernels_of(self, rate: float, stored: StoredFilters, device: torch.device) -> "_Kernels":
        place = (rate, stored, device)
        if place not in self._kernels:
            filters = [
                torch.from_numpy(kernel).to(device)
                for kernel in _filter_kernels(self.config, rate, stored)
            ]
            resampling = _rate_kernel(*resampling_ratio(self.config, rate))
            self._kernels[place] = _Kernels(
                filters, None if resampling is None else torch.from_numpy(resampling).to(device)
            )
        return self._kernels[place]


class _Kernels(NamedTuple):
    """Kernels on a device, in the order in which they are applied."""

    filters: list[Tensor]
    resampling: Tensor | None


def load_margin(load: LoadConfig, rate_hz: float, *, stored: StoredFilters) -> int:
    """Return how many stored samples the pipeline needs on each side of a window."""
    up, down = resampling_ratio(load, rate_hz)
    resampling = 0 if (up, down) == (1, 1) else resample_margin_samples(up=up, down=down)
    return resampling + sum(
        margin_samples(kernel) for kernel in _filter_kernels(load, rate_hz, stored)
    )


def resampling_ratio(load: LoadConfig, rate_hz: float) -> tuple[int, int]:
    """Return (up, down) from a stored rate to the load rate; (1, 1) where it is kept."""
    if load.sampling_rate_hz is None or load.sampling_rate_hz == rate_hz:
        return 1, 1
    return rational_ratio(rate_hz, load.sampling_rate_hz)


def _filter_kernels(
    load: LoadConfig, rate_hz: float, stored: StoredFilters
) -> list[NDArray[np.float64]]:
    """Return the kernels of the filters that the shards do not have yet."""
    low = None if load.low_cut_hz == stored.low_cut_hz else load.low_cut_hz
    high = load.high_cut_hz
    if high is not None and (high == stored.high_cut_hz or high >= rate_hz / 2):
        high = None
    kernels = []
    if low is not None or high is not None:
        kernels.append(_band_kernel(rate_hz, low, high))
    if load.notch_hz is not None and load.notch_hz not in stored.notch_hz:
        kernels.append(_notch_kernel(rate_hz, load.notch_hz))
    return kernels


@functools.cache
def _band_kernel(
    rate_hz: float, low_hz: float | None, high_hz: float | None
) -> NDArray[np.float64]:
    return fir_kernel(rate_hz, low_hz=low_hz, high_hz=high_hz)


@functools.cache
def _notch_kernel(rate_hz: float, line_hz: float) -> NDArray[np.float64]:
    return notch_kernel(rate_hz, line_hz=line_hz)


@functools.cache
def _rate_kernel(up: int, down: int) -> NDArray[np.float64] | None:
    return None if (up, down) == (1, 1) else resampling_kernel(up=up, down=down)
