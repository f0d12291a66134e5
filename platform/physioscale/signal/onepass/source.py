"""Facts about a recording's samples as the source has them.

In:  digital samples (C, T) int16 or int32, in order, in pieces of any length.
Out: extremes and a checksum per channel.

A channel is hashed as int16 as long as its samples fit, and in a source of 32 bits as int32 beside
it. What counts in the end depends on the numbers alone, and 16 bits cost half as much.

Letters: C channels, T samples.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INT16 = np.iinfo(np.int16)


class SourceFigures:
    """Gathers the facts of C channels."""

    def __init__(self, num_channels: int) -> None:
        self.num_samples = 0
        self.low = np.zeros(num_channels, dtype=np.int64)
        self.high = np.zeros(num_channels, dtype=np.int64)
        self._narrow = [hashlib.sha256() for _ in range(num_channels)]
        self._wide = [hashlib.sha256() for _ in range(num_channels)]

    @property
    def channel_sha256(self) -> tuple[str, ...]:
        """SHA-256 per channel: of its samples as int16 where all of them fit, else as int32."""
        hashes = zip(self._fits.tolist(), self._narrow, self._wide, strict=True)
        return tuple((narrow if fits else wide).hexdigest() for fits, narrow, wide in hashes)

    def add(self, digital: NDArray[Any]) -> None:
        """Take the next samples (C, T), of the same type as before."""
        if not digital.shape[1]:
            return
        low, high = digital.min(axis=1), digital.max(axis=1)
        self.low = np.minimum(self.low, low) if self.num_samples else low.astype(np.int64)
        self.high = np.maximum(self.high, high) if self.num_samples else high.astype(np.int64)
        self.num_samples += digital.shape[1]
        for channel, fits in enumerate(self._fits.tolist()):
            if fits:
                self._narrow[channel].update(_bytes(digital[channel], "<i2"))
            if digital.dtype.itemsize > _INT16.bits // 8:
                self._wide[channel].update(_bytes(digital[channel], "<i4"))

    @property
    def _fits(self) -> NDArray[np.bool_]:
        return np.asarray((self.low >= _INT16.min) & (self.high <= _INT16.max))


def _bytes(row: NDArray[Any], dtype: str) -> memoryview:
    return np.ascontiguousarray(row, dtype=dtype).data
