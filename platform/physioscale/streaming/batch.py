"""A batch of windows as it leaves the stream.

Shapes: B windows, C channels, T samples. All windows of a batch have the same channel count, rate
and length; channel names and positions may differ between them. Before the load pipeline has run,
`signal` carries `margin` extra samples at each side and is in the shards' unit and rate.

A batch handed out by a loader is valid until the next one is asked for: its memory is reused.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.random import Draws
from physioscale.streaming.selection import StoredFilters


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one rank."""

    signal: Tensor
    """(B, C, T) float32 in the channels' unit (V for EEG), in memory times before channels. Before
    the load pipeline `num_references` more channels follow."""
    positions_m: Tensor
    """(B, C, 3) float32 in metres, NaN where unknown."""
    mean: Tensor
    """(B, C) float32: the recording's mean per channel, in the load pipeline's band."""
    std: Tensor
    """(B, C) float32: the recording's standard deviation, likewise."""
    draws: Draws
    """Keyed by the run's seed, the global step and each window's place in the global batch."""
    step: int
    """Global step, from 0."""
    epoch: int
    sampling_rate_hz: float
    """Rate of `signal` as it is now."""
    margin: tuple[int, int]
    """Samples before and behind the window that are still in `signal`."""
    stored: StoredFilters
    """Filters already applied to the shards."""
    num_references: int
    """Trailing channels of `signal` that the load pipeline subtracts and drops."""
    window_ids: NDArray[np.int64]
    """(B,) number of each window in the stream."""
    recording_rows: NDArray[np.int64]
    """(B,) row of each window's recording in `Stream.recordings`."""
    start_s: NDArray[np.float64]
    """(B,) start of each window, seconds from the recording's first sample."""
    channel_names: tuple[tuple[str, ...], ...]
    """Per window, C names."""

    def __len__(self) -> int:
        return len(self.window_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Return the batch with its tensors on `device`."""
        return dataclasses.replace(
            self,
            signal=self.signal.to(device, non_blocking=non_blocking),
            positions_m=self.positions_m.to(device, non_blocking=non_blocking),
            mean=self.mean.to(device, non_blocking=non_blocking),
            std=self.std.to(device, non_blocking=non_blocking),
            draws=self.draws.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "Batch":
        """Return the batch as it is: on a CUDA machine the ring is pinned already."""
        return self
