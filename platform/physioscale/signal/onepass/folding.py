"""A spectrum at the source rate, folded onto the bins of the stored rate.

In:  the response H (Q,) at the source's bins.
Out: `Piece`s: contiguous stretches of source bins, the stored bins they fall onto, and H there.

Changing the rate by up / down puts the source's spectrum X, N bins long and repeated without end,
times H onto M = N * up / down bins: stored bin j collects X * H at all q = j + i * M. X and H are
those of real signals, so negative q are conjugates, and X at q above N / 2 is conj X at N - q.

Letters: N and M samples of a block before and behind the change of rate, Q bins of H.
Source: Crochiere and Rabiner 1983, on changing rates in the frequency domain.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RealArray = NDArray[np.floating[Any]]
ComplexArray = NDArray[np.complexfloating[Any, Any]]
RealType = type[np.float32] | type[np.float64]

# A response below adds nothing that float32 could hold.
_SMALLEST_RESPONSE = 1e-7


@dataclass(frozen=True)
class Piece:
    """A stretch of source bins that falls onto a stretch of stored bins."""

    stored: slice
    source: slice
    """May run downwards."""
    conjugate: bool
    response: ComplexArray
    """Real numbers in complex form: numpy multiplies these twice as fast by a spectrum."""


def fold_pieces(
    response: FloatArray,
    *,
    block: int,
    stored_block: int,
    dtype: RealType,
) -> Iterator[Piece]:
    """Yield the stretches of source bins q that make up the stored bins; the first begins at 0."""
    half, stored_half = block // 2, stored_block // 2
    last = len(response) - 1
    for zone in range(max(1, -(-last // stored_half))):
        # Zone z holds q from z * M / 2 to (z + 1) * M / 2, both included: either end stands for
        # itself and for its negative. It runs upwards over j where z is even.
        low, high = zone * stored_half, min((zone + 1) * stored_half, last)
        for begin, end in ((low, min(high, half) + 1), (max(low, half + 1), high + 1)):
            first, stop = _significant(response, begin, end)
            if first >= stop:
                continue
            bins = np.arange(first, stop)
            mirrored = first > half  # X at q above the Nyquist frequency is conj X at N - q
            source = block - bins if mirrored else bins
            stored = bins - low if zone % 2 == 0 else (zone + 1) * stored_half - bins
            values = response[first:stop]
            if stored[0] > stored[-1]:
                source, stored, values = source[::-1], stored[::-1], values[::-1]
            yield Piece(
                stored=slice(int(stored[0]), int(stored[-1]) + 1),
                source=_as_slice(source),
                conjugate=mirrored != (zone % 2 == 1),
                response=values.astype(np.result_type(dtype, np.complex64)),
            )


def _significant(response: FloatArray, first: int, stop: int) -> tuple[int, int]:
    """Return the stretch inside [first, stop) that counts; that of bin 0 always begins there."""
    counts = np.flatnonzero(np.abs(response[first:stop]) >= _SMALLEST_RESPONSE)
    if not len(counts):
        return first, first + (first == 0)
    return first + (int(counts[0]) if first else 0), first + int(counts[-1]) + 1


def _as_slice(indices: NDArray[np.int64]) -> slice:
    first, last = int(indices[0]), int(indices[-1])
    if first <= last:
        return slice(first, last + 1)
    return slice(first, last - 1 if last > 0 else None, -1)
