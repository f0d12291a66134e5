"""Samples of one recording on disk until the whole of it has been read.

In:  blocks (C, T) int16, int32 or float32, in order. Out: any range of samples as (T, C).

A recording is first read to its end and then written into a shard: only then are the figures known
that its coding needs, and no shard holds half of a recording whose last record is damaged. The
file has no name, so that nothing is left of it whenever the process ends. It is read and written,
not mapped: its pages are the system's and not counted as the process's memory. Writing and reading
cost 1.5 ns per float32 on local disk, less than keeping the blocks would in fresh memory.

Letters: C channels, T samples.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]


class SpoolError(OSError):
    """The disk of the shard set refused; no fault of the recording."""


class Spool:
    """A nameless file of samples, (T, C) as they lie in a shard; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Open it.

        Args:
            folder: on a disk with room for the recording, as a rule that of the shard set.

        Raises:
            SpoolError: no file can be made there.
        """
        with _as_spool_error():
            # Closed by this object's own end.
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._row: np.dtype[Any] | None = None  # of one moment in time: (C,) numbers
        self.num_times = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, block: Samples) -> None:
        """Add samples (C, T) behind those that are there.

        Raises:
            ValueError: another type or number of channels than before.
            SpoolError: they cannot be written.
        """
        row = np.dtype((block.dtype, (len(block),)))
        if self._row not in (None, row):
            raise ValueError(f"a block of {row} behind blocks of {self._row}")
        self._row = row
        self.num_times += block.shape[1]
        if not block.size:
            return
        left = np.ascontiguousarray(block.T).data.cast("B")
        with _as_spool_error():
            while left:
                left = left[self._file.write(left) :]

    def read(self, start: int, stop: int) -> Samples:
        """Return samples [start, stop) as (T, C).

        Raises:
            ValueError: a range that is not there.
            SpoolError: they cannot be read.
        """
        if self._row is None or not 0 <= start <= stop <= self.num_times:
            raise ValueError(f"samples {start} to {stop} of {self.num_times}")
        samples: Samples = np.empty(stop - start, dtype=self._row)
        if not samples.size:
            return samples
        left = samples.data.cast("B")
        offset = start * self._row.itemsize
        with _as_spool_error():
            while left:
                count = os.preadv(self._file.fileno(), [left], offset)
                if not count:
                    raise OSError("the spooled samples end early")
                left, offset = left[count:], offset + count
        return samples


@contextmanager
def _as_spool_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(*error.args) from error
