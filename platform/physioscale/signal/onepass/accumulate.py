"""Figures of a recording that are gathered while its blocks go by, in memory that does not grow.

In:  (C, T) blocks in order. Out: mean and variance, and a sample of values for robust figures.

The results depend on the order of the blocks and their lengths to rounding, and on nothing else: no
clock, no generator with a state.

Letters: C channels, T samples of a block.
Source: Chan, Golub and LeVeque 1983 for merging variances; the finalizer of MurmurHash3 (A.
Appleby, public domain) for the hash.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.signal.statistics import BandStatistics

FloatArray = NDArray[np.float64]
RealArray = NDArray[np.floating[Any]]

# The median absolute deviation of a Gaussian times this is its standard deviation.
_MAD_TO_STD = 1.4826
# 32 bits, because numpy multiplies those several at once; numbers may wrap around.
_FIRST_MIX = np.uint32(0x85EBCA6B)
_SECOND_MIX = np.uint32(0xC2B2AE35)
_LARGEST = 1 << 32


class Moments:
    """Count, mean and squared deviations of C channels."""

    def __init__(self, num_channels: int) -> None:
        self.count = 0
        self._mean = np.zeros(num_channels)
        self._squares = np.zeros(num_channels)

    def add(self, count: int, *, mean: FloatArray, squares: FloatArray) -> None:
        """Merge a block of `count` samples with its means (C,) and summed squared deviations."""
        total = self.count + count
        if total == 0:
            return
        apart = mean - self._mean
        self._mean += apart * (count / total)
        self._squares += squares + apart**2 * (self.count * count / total)
        self.count = total

    def result(self) -> BandStatistics:
        """Return mean and (population) standard deviation, (C,) each; NaN without samples."""
        if self.count == 0:
            nothing = np.full_like(self._mean, np.nan)
            return BandStatistics(nothing, nothing.copy())
        return BandStatistics(self._mean.copy(), np.sqrt(self._squares / self.count))


class Subsample:
    """Up to `capacity` moments in time of a recording, the same for all C channels.

    A sample is kept where a hash of its number is below a threshold that is halved whenever too
    many are held. A fixed stride would hit the same phase of the line frequency each time.
    """

    def __init__(self, num_channels: int, *, capacity: int) -> None:
        self._capacity = capacity
        self._threshold = _LARGEST
        self._hashes = np.zeros(0, dtype=np.uint32)
        self._values: RealArray = np.zeros((num_channels, 0), dtype=np.float32)

    @property
    def num_held(self) -> int:
        """Moments in time that are held."""
        return len(self._hashes)

    def add(self, values: RealArray, *, first: int) -> None:
        """Look at a block (C, T) whose first sample is number `first` of the recording."""
        numbers = np.arange(first, first + values.shape[1]).astype(np.uint32)
        hashes = _hash(numbers)
        held, chosen = self._kept(self._hashes), self._kept(hashes)
        while len(held) + len(chosen) > self._capacity:
            self._threshold //= 2
            held, chosen = self._kept(self._hashes), self._kept(hashes)
        self._hashes = np.concatenate((self._hashes[held], hashes[chosen]))
        self._values = np.concatenate((self._values[:, held], values[:, chosen]), axis=1)

    def robust_std(self) -> FloatArray:
        """Return (C,): 1.4826 times the median distance from the median; NaN without samples."""
        if not self.num_held:
            return np.full(len(self._values), np.nan)
        apart = np.abs(self._values - _median(self._values))
        return np.asarray(_MAD_TO_STD * _median(apart)[:, 0], dtype=np.float64)

    def _kept(self, hashes: NDArray[np.uint32]) -> NDArray[np.intp]:
        # The first threshold, 2^32, is one more than a hash can be and than uint32 can hold.
        return np.flatnonzero(hashes <= np.uint32(self._threshold - 1))


def _median(values: RealArray) -> RealArray:
    """Return (C, 1) medians. `np.median` does the same ten times slower."""
    middle = values.shape[1] // 2
    parted = np.partition(values, middle, axis=1)
    upper = parted[:, middle : middle + 1]
    if values.shape[1] % 2:
        return upper
    median: RealArray = (upper + parted[:, :middle].max(axis=1, keepdims=True)) / 2
    return median


def _hash(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return a hash of each number: equal inputs give equal bits, neighbours unrelated ones."""
    mixed = (numbers ^ (numbers >> np.uint32(16))) * _FIRST_MIX
    mixed = (mixed ^ (mixed >> np.uint32(13))) * _SECOND_MIX
    return mixed ^ (mixed >> np.uint32(16))
