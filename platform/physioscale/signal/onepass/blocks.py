"""One block of source samples through the whole chain, and a run too short for blocks.

In:  digital samples of a block, R rows at a time, (R, N) of any integer type.
Out: stored samples (C, T') in the unit of gain and offset, and their share of the bands' moments.

A constant per row and block is taken off before the FFT and put back behind it with the gain that
the chain has at 0 Hz. That is exact, and keeps the offset of a DC-coupled amplifier, ten thousand
times the signal, out of float32.

Letters: C channels, T' stored samples, N and M samples of a block before and behind the change of
rate, R rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from physioscale.signal.filters import apply_fir
from physioscale.signal.onepass.accumulate import Moments
from physioscale.signal.onepass.plan import BandPlan, OnePassPlan
from physioscale.signal.resampling import resample

FloatArray = NDArray[np.float64]
RealArray = NDArray[np.floating[Any]]
ComplexArray = NDArray[np.complexfloating[Any, Any]]
IntArray = NDArray[np.signedinteger[Any]]
RowSource = Callable[[slice], IntArray]

# Rows share SIMD lanes (four of float32 in the builds of scipy), and a fifth would cost a whole
# transform: a group is filled up with zeros. 1.5 ns per sample, against 3.3 row by row; eight rows
# are no faster and need twice the cache.
_ROWS_AT_ONCE = 4
# For the constant: every 64th sample gives it as well, and costs nothing.
_STRIDE_OF_MEAN = 64


class BlockTransform:
    """Runs blocks of one recording through a plan and adds them to the moments of its bands."""

    def __init__(
        self,
        plan: OnePassPlan,
        *,
        gain: FloatArray,
        offset: FloatArray,
        moments: Mapping[str, Moments],
    ) -> None:
        self._plan = plan
        self._gain = gain
        self._offset = offset
        self._moments = moments
        self._rows = np.zeros((_ROWS_AT_ONCE, plan.block), dtype=plan.dtype)
        bins = (_ROWS_AT_ONCE, plan.stored_block // 2 + 1)
        self._folded = np.zeros(bins, dtype=np.result_type(plan.dtype, np.complex64))
        self._part = np.zeros_like(self._folded)
        self._filtered_bands = {
            name: band for name, band in plan.bands.items() if band.kernel is not None
        }

    def block(self, source: RowSource, *, num_out: int) -> RealArray:
        """Return the first `num_out` outputs (C, num_out) of a block.

        Args:
            source: gives the block's digital samples (R, N) of a slice of rows.
            num_out: at most the plan's `stored_step`.
        """
        num_channels = len(self._gain)
        values = np.empty((num_channels, num_out), dtype=self._plan.dtype)
        parts = {name: np.empty((2, num_channels)) for name in self._plan.bands}
        for first in range(0, num_channels, _ROWS_AT_ONCE):
            rows = slice(first, min(first + _ROWS_AT_ONCE, num_channels))
            self._group(source(rows), rows, values[rows], parts)
        for name, (mean, squares) in parts.items():
            count = -(-num_out // self._plan.bands[name].decimation)
            self._moments[name].add(count, mean=mean, squares=squares)
        return values

    def _group(
        self, digital: IntArray, rows: slice, values: RealArray, parts: Mapping[str, FloatArray]
    ) -> None:
        """Fill `values` (R, T') and the rows' columns of `parts` (2, C): means and squares."""
        plan, gain = self._plan, self._gain[rows]
        count, num_out = values.shape
        level = self._load(digital)
        constant = plan.dc_gain * (level * gain + self._offset[rows])
        folded = None
        if self._filtered_bands or not plan.is_identity:
            folded = self._fold(fft.rfft(self._rows, workers=1))
        for name, band in self._filtered_bands.items():
            assert folded is not None
            filtered = self._band(folded, band, num_out)[:count]
            parts[name][:, rows] = _moments(filtered, gain, band.dc_gain * constant)
        stored = self._rows
        if not plan.is_identity:
            stored = fft.irfft(folded, plan.stored_block, workers=1, overwrite_x=True)
        stored = stored[:count, plan.stored_lead : plan.stored_lead + num_out]
        for name in plan.bands.keys() - self._filtered_bands.keys():
            parts[name][:, rows] = _moments(stored, gain, constant)
        np.multiply(stored, gain[:, np.newaxis].astype(plan.dtype), out=values)
        if constant.any():
            values += constant[:, np.newaxis].astype(plan.dtype)

    def _load(self, digital: IntArray) -> FloatArray:
        """Put digital samples (R, N) without a constant each into the rows; return those (R,)."""
        count = len(digital)
        level = np.rint(digital[:, ::_STRIDE_OF_MEAN].mean(axis=1))
        # The difference is exact in this type, so that it is rounded once, to the rows' type.
        exact: type[np.generic] = np.float64
        if digital.dtype == np.int16:
            exact = np.float32
        elif digital.dtype == np.int32 and max(-int(digital.min()), int(digital.max())) < 1 << 30:
            exact = np.int32
        taken_off = level[:, np.newaxis].astype(exact)
        np.subtract(digital, taken_off, out=self._rows[:count], dtype=exact, casting="unsafe")
        self._rows[count:] = 0
        return np.asarray(level, dtype=np.float64)

    def _fold(self, spectrum: ComplexArray) -> ComplexArray:
        """Return the stored spectrum (R, M // 2 + 1) of a source spectrum (R, N // 2 + 1)."""
        first, *others = self._plan.pieces
        folded = self._folded
        np.multiply(spectrum[:, first.source], first.response, out=folded[:, first.stored])
        folded[:, first.stored.stop :] = 0
        for piece in others:
            part = self._part[:, : len(piece.response)]
            np.multiply(spectrum[:, piece.source], piece.response, out=part)
            folded[:, piece.stored] += np.conjugate(part, out=part) if piece.conjugate else part
        return folded

    def _band(self, folded: ComplexArray, band: BandPlan, num_out: int) -> RealArray:
        """Return a band's samples (R, ceil(num_out / decimation)) under the block's outputs."""
        first = self._plan.stored_lead // band.decimation
        count = -(-num_out // band.decimation)
        spectrum = folded[:, : len(band.response)] * band.response
        length = self._plan.stored_block // band.decimation
        filtered: RealArray = fft.irfft(spectrum, length, workers=1, overwrite_x=True)
        return filtered[:, first : first + count]


def short_run(
    digital: IntArray,
    plan: OnePassPlan,
    *,
    gain: FloatArray,
    offset: FloatArray,
    moments: Mapping[str, Moments],
) -> RealArray:
    """Return the stored samples (C, T') of a run (C, T) with T <= the plan's margin."""
    values = digital * gain[:, np.newaxis] + offset[:, np.newaxis]
    if plan.dc_gain == 0:
        values -= values.mean(axis=1, keepdims=True)
    for kernel in plan.kernels:
        values = apply_fir(values, kernel)
    if plan.up != plan.down:
        values = resample(values, up=plan.up, down=plan.down)
    for name, band in plan.bands.items():
        filtered = values if band.kernel is None else apply_fir(values, band.kernel)
        mean, squares = _moments(filtered, np.ones(len(values)), np.zeros(len(values)))
        moments[name].add(values.shape[1], mean=mean, squares=squares)
    return values.astype(plan.dtype)


def _moments(values: RealArray, gain: FloatArray, constant: FloatArray) -> FloatArray:
    """Return (2, R): mean, and summed squared deviations from it, of values * gain + constant."""
    # numpy adds in pairs along rows, which keeps float32 sums to 1e-6 of the squares.
    mean = np.add.reduce(values, axis=1).astype(np.float64) / values.shape[1]
    squares = np.add.reduce(np.square(values), axis=1).astype(np.float64)
    squares = np.maximum(squares - mean**2 * values.shape[1], 0.0)
    return np.stack((mean * gain + constant, squares * gain**2))
