"""Stored numbers of a segment: 16-bit integers with a scale and an offset, or float32.

In:  values (C, T) float64 in the channels' units, or digital samples (C, T) of the source.
Out: `Coded`: (T, C) int16 or float32, little endian, and per channel scale and offset, so that
     value = stored * scale + offset.

The rule for filtered values: the least significant bit is the largest one that the profile allows,
`lsb_share` (1 % at most) of the channel's robust standard deviation over the whole recording. That
leaves +-327 robust deviations, and a stray artefact costs no resolution elsewhere. Where a segment
does not fit, that whole segment is float32. Nothing is clipped.

Letters: C channels, T samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import encode_int16
from physioscale.signal import robust_std

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int16] | NDArray[np.int32]

_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1


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


def recording_scale(
    runs: Sequence[FloatArray], *, lsb_share: float, source_gain: FloatArray
) -> FloatArray:
    """Return the scale (C,) of a recording's channels, exact as float32.

    A channel whose robust deviation is zero (more than half of it constant) is scaled by its
    ordinary deviation, and a constant one by its source's digital step, which loses nothing.

    Args:
        runs: the gap-free stretches, each (C, T).
        lsb_share: the scale as a share of the robust deviation.
        source_gain: (C,) digital step of the source in the channels' units, above 0.
    """
    scale = np.empty(len(source_gain))
    for channel in range(len(scale)):
        values = np.concatenate([run[channel] for run in runs])[np.newaxis]
        spread = float(robust_std(values)[0]) or float(values.std())
        scale[channel] = _below_as_float32(lsb_share * spread, fallback=source_gain[channel])
    return scale


def code_values(values: FloatArray, *, scale: FloatArray | None) -> Coded:
    """Return values (C, T) as int16 at `scale` (C,), or as float32 where they do not fit.

    `scale` None asks for float32.
    """
    stored = None if scale is None else encode_int16(values.T, scale=scale)
    if scale is None or stored is None:
        return _as_float32(values)
    return Coded(stored, tuple(scale.tolist()), (0.0,) * len(scale))


def code_native(digital: IntArray, *, gain: FloatArray, offset: FloatArray) -> Coded:
    """Return the source's own integers (C, T), value = digital * gain + offset, without loss.

    Channels that leave the range of int16 (24-bit sources) are stored relative to an integer near
    their middle; where the segment's own span is too wide for that, it becomes float32. A negative
    gain is turned positive by storing the bitwise complement, -1 - digital, which keeps the range.
    """
    low, high = digital.min(axis=1).astype(np.int64), digital.max(axis=1).astype(np.int64)
    if (high - low).max() > _INT16_MAX - _INT16_MIN:
        return _as_float32(digital * gain[:, np.newaxis] + offset[:, np.newaxis])
    fits = (low >= _INT16_MIN) & (high <= _INT16_MAX)
    base = np.where(fits, 0, low - _INT16_MIN)
    stored = (digital - base[:, np.newaxis]).astype("<i2")
    inverted = gain < 0
    stored[inverted] = ~stored[inverted]
    shift = offset + base * gain + np.where(inverted, -gain, 0.0)
    return Coded(
        np.ascontiguousarray(stored.T),
        tuple(np.abs(gain).tolist()),
        tuple(shift.tolist()),
    )


def _as_float32(values: FloatArray) -> Coded:
    count = len(values)
    return Coded(np.ascontiguousarray(values.T, dtype="<f4"), (1.0,) * count, (0.0,) * count)


def _below_as_float32(value: float, *, fallback: float) -> float:
    """Return the float32 nearest to `value` that is not above it, or `fallback` near zero."""
    wanted = value if value >= np.finfo(np.float32).tiny else fallback
    rounded = np.float32(wanted)
    if rounded > wanted:
        rounded = np.nextafter(rounded, np.float32(0))
    return float(rounded)
