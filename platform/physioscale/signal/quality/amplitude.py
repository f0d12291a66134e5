"""Flat and saturated channels, from the samples as they are stored.

In:  samples (C, T): digital integers (best: equality is exact), or floats where a source has no
     integers; all values finite.
Out: shares (C,) float64 in [0, 1].

Both are looked for before any filter: a filter turns a constant into a slow ring and a clipped top
into a round one. An amplifier that saturates below the converter's range, with noise on its
plateau, shows in neither figure unless that noise stays under the flat limit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Samples = NDArray[Any]
"""(C, T) of int16, int32, float32 or float64."""

_FLAT_S = 0.5
# A channel of 1 Hz has one sample a second, and one sample has no range.
_LEAST_FLAT_SAMPLES = 16
_PROBES = 8
# Fine steps: a sine stands 3.5 times longer on its top level than on the mean of the next five,
# noise less than once; clipped noise 6 times and more with steps below 1/20 sd.
_RAIL_LEVELS = 5
_RAIL_RATIO = 5.0
# Coarse steps: noise stands less on its top level than on the next one, and a single slow peak is
# on it for some 30 ms.
_RAIL_S = 0.2


def flat_share(
    samples: Samples, *, gain_uv: FloatArray, sampling_rate_hz: float, flat_range_uv: float
) -> FloatArray:
    """Return (C,): the share of the samples that lie in flat blocks.

    A block of 0.5 s is flat if max - min is at most `flat_range_uv` after scaling, or at most one
    step of integers: a dead input on the edge between two integers toggles. The incomplete last
    block counts with its own range and its own length.

    Args:
        samples: (C, T), T >= 1.
        gain_uv: (C,) uV per step; the sign does not matter.
        sampling_rate_hz: of the samples.
        flat_range_uv: largest range of a flat block.
    """
    num_channels, num_times = samples.shape
    flat_span = flat_range_uv / np.abs(gain_uv)
    if samples.dtype.kind in "iu":
        flat_span = np.maximum(flat_span, 1.0)
    length = max(round(sampling_rate_hz * _FLAT_S), _LEAST_FLAT_SAMPLES)
    whole = num_times - num_times % length
    num_flat = np.zeros(num_channels)
    for part in (samples[:, :whole], samples[:, whole:]):
        size = min(length, part.shape[1])
        if size:
            blocks = part.reshape(num_channels, -1, size)
            num_flat += size * np.count_nonzero(_is_flat(blocks, flat_span), axis=1)
    share: FloatArray = num_flat / num_times
    return share


def _is_flat(blocks: Samples, flat_span: FloatArray) -> NDArray[np.bool_]:
    """Return (C, W) True where the range of a block of (C, W, N) is at most (C,) `flat_span`."""
    # A few samples clear nearly every block: their range is at most that of all.
    few = blocks[:, :, :: max(blocks.shape[2] // _PROBES, 1)]
    flat = _span(np.ascontiguousarray(np.moveaxis(few, 2, 0))) <= flat_span[:, np.newaxis]
    channel, block = np.nonzero(flat)
    flat[channel, block] = _span(blocks[channel, block].T) <= flat_span[channel]
    return flat


def _span(samples: Samples) -> FloatArray:
    """Return max - min over the first axis, in float64: the range of int16 does not fit int16."""
    span: FloatArray = samples.max(axis=0).astype(np.float64) - samples.min(axis=0)
    return span


def saturated_share(
    samples: Samples,
    *,
    sampling_rate_hz: float,
    lowest: Samples | None = None,
    highest: Samples | None = None,
) -> FloatArray:
    """Return (C,): the share of the samples that stand at a rail, low and high together.

    The rail is the converter's end, where 5 samples or more reach it and none goes beyond (declared
    ranges are often wrong). Elsewhere it is the segment's own extreme value, if n samples are piled
    up on it, with n_k on the k-th level inside of it:

        n >= 5 * (1 + mean(n_1 ... n_5)), or n >= n_1 / 2 and n / sampling_rate >= 0.2 s.

    Levels are spaced by the smallest difference that occurs. The first rule finds clipping in
    finely resolved signals from 5 samples on, the second one in coarsely resolved signals. A
    channel with fewer than seven levels is piled up nowhere, and a constant one is saturated only
    at the converter's end. A sine of constant height in coarse steps is taken for clipped.

    Args:
        samples: (C, T), T >= 1.
        sampling_rate_hz: of the samples.
        lowest: (C,) smallest value the converter gives (digital minimum); None: not known.
        highest: (C,) largest value.
    """
    low, high = samples.min(axis=1), samples.max(axis=1)
    floor = np.full(len(samples), -np.inf) if lowest is None else lowest
    ceiling = np.full(len(samples), np.inf) if highest is None else highest
    num_stuck = np.zeros(len(samples))
    for channel, row in enumerate(samples):
        at_floor, at_ceiling = low[channel] == floor[channel], high[channel] == ceiling[channel]
        if low[channel] == high[channel]:
            num_stuck[channel] = len(row) * (at_floor or at_ceiling)
            continue
        for stuck, at_end in ((row == low[channel], at_floor), (row == high[channel], at_ceiling)):
            count = int(np.count_nonzero(stuck))
            # Levels are counted, at the cost of a sort, in the rare row where they can matter.
            if count >= _RAIL_RATIO and (at_end or _is_piled_up(row, stuck, sampling_rate_hz)):
                num_stuck[channel] += count
    share: FloatArray = num_stuck / samples.shape[1]
    return share


def _is_piled_up(row: Samples, stuck: NDArray[np.bool_], sampling_rate_hz: float) -> bool:
    """Return whether an extreme value stands out from the levels inside of it.

    Args:
        row: (T,) samples of a channel.
        stuck: (T,) True at the extreme value.
        sampling_rate_hz: of the row.
    """
    levels, counts = np.unique(row, return_counts=True)
    if len(levels) < _RAIL_LEVELS + 2:
        return False
    levels = levels.astype(np.float64)
    # In steps from the extreme value; steps of floats are equal up to rounding.
    distance = np.abs(levels - float(row[np.argmax(stuck)])) / np.diff(levels).min()
    count = np.count_nonzero(stuck)
    next_count = counts[(distance > 0.5) & (distance < 1.5)].sum()
    mean_inside = counts[(distance > 0.5) & (distance < _RAIL_LEVELS + 0.5)].sum() / _RAIL_LEVELS
    lasting = count >= _RAIL_S * sampling_rate_hz and count >= next_count / 2
    return bool(lasting or count >= _RAIL_RATIO * (1.0 + mean_inside))
