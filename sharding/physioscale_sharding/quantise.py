"""Stored numbers of a segment: 16-bit integers with a scale and an offset, or float32.

In:  values (T, C) float32 in the channels' units, or digital samples (T, C) of the source.
Out: `Coded`: (T, C) int16 or float32, little endian, and per channel scale and offset, so that
     value = stored * scale + offset.

The rule for filtered values: in each segment a channel uses the whole range of its integers, one
step being 1/32767 of its largest value there. Where that step would be larger than `lsb_share`
(1 % at most) of the channel's robust standard deviation over the whole recording, which takes a
value beyond some 300 deviations, the whole segment is float32. So an artefact costs no resolution,
neither there nor elsewhere. Nothing is clipped.

The robust deviation comes from 4096 to 8192 moments in time that a hash picks from the whole
recording, and is off by up to 2.5 % (one standard error; of values with heavy tails). A tenth is
taken off, so that the limit holds for the recording's own.

Letters: C channels, T samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import encode_int16

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int16] | NDArray[np.int32]

_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1
_SAFETY = 0.9
_JOINED = 16


@dataclass(frozen=True)
class Coded:
    """A segment as it is stored."""

    stored: NDArray[np.int16] | NDArray[np.float32]
    """(T, C)"""
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def dtype(self) -> str:
        """int16 or float32."""
        return "float32" if self.stored.dtype.kind == "f" else "int16"


def largest_steps(
    *, robust_std: FloatArray, std: FloatArray, lsb_share: float, source_gain: FloatArray
) -> FloatArray:
    """Return the largest step (C,) that a recording's channels may be stored with.

    A channel whose robust deviation is zero (more than half of it constant) is judged by its
    ordinary deviation, and a constant one by its source's digital step, which loses nothing.

    Args:
        robust_std: (C,) of the stored values.
        std: (C,) of the stored values.
        lsb_share: the step as a share of the deviation.
        source_gain: (C,) digital step of the source in the channels' units, above 0.
    """
    spread = np.where(robust_std > 0, robust_std, std)
    return np.where(spread > 0, _SAFETY * lsb_share * spread, source_gain)


def code_values(values: NDArray[np.float32], *, largest: FloatArray) -> Coded:
    """Return values (T, C) as int16 with steps of at most `largest` (C,), else as float32."""
    step = _peak(values) / _INT16_MAX
    # Where there is nothing (or next to nothing) to resolve, any step will do.
    step = np.where(step > np.finfo(np.float32).tiny, step, largest)
    scale = step.astype(np.float32).astype(np.float64)
    if (step > largest).any():
        return code_float32(values)
    stored = encode_int16(values, scale=scale)
    assert stored is not None, "a value is above the largest one"
    return Coded(stored, tuple(scale.tolist()), (0.0,) * len(scale))


def _peak(values: NDArray[np.float32]) -> FloatArray:
    """Return (C,): the largest distance from zero of values (T, C)."""
    num_times, num_channels = values.shape
    # Rows of several moments: over rows of few channels, numpy takes eight times as long.
    joined = num_times // _JOINED * _JOINED
    rows = values[:joined].reshape(-1, _JOINED * num_channels)
    low = [values[joined:], rows.min(axis=0, initial=0).reshape(-1, num_channels)]
    high = [values[joined:], rows.max(axis=0, initial=0).reshape(-1, num_channels)]
    peak = np.maximum(np.concatenate(high).max(axis=0), -np.concatenate(low).min(axis=0))
    return np.asarray(peak, dtype=np.float64)


def code_native(digital: IntArray, *, gain: FloatArray, offset: FloatArray) -> Coded:
    """Return the source's own integers (T, C), value = digital * gain + offset, without loss.

    Channels that leave the range of int16 (24-bit sources) are stored relative to an integer near
    their middle; where the segment's own span is too wide for that, it becomes float32. A negative
    gain is turned positive by storing the bitwise complement, -1 - digital, which keeps the range.
    """
    low, high = digital.min(axis=0).astype(np.int64), digital.max(axis=0).astype(np.int64)
    if (high - low).max() > _INT16_MAX - _INT16_MIN:
        return code_float32(digital * gain + offset)
    fits = (low >= _INT16_MIN) & (high <= _INT16_MAX)
    base = np.where(fits, 0, low - _INT16_MIN)
    stored = np.subtract(digital, base, dtype=np.int64).astype("<i2")
    inverted = gain < 0
    stored[:, inverted] = ~stored[:, inverted]
    shift = offset + base * gain + np.where(inverted, -gain, 0.0)
    return Coded(stored, tuple(np.abs(gain).tolist()), tuple(shift.tolist()))


def code_float32(values: NDArray[np.floating[Any]]) -> Coded:
    """Return values (T, C) as float32."""
    count = values.shape[1]
    return Coded(values.astype("<f4", copy=False), (1.0,) * count, (0.0,) * count)
