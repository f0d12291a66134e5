"""A shard set while it is verified: what could be opened of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from physioscale.contract.dataset import DatasetInfo
from physioscale.contract.verify.report import Fault


@dataclass(frozen=True)
class OpenedSet:
    """A shard set whose `dataset.json` is sound; a table that is damaged is None."""

    name: str
    """The folder, as the caller named it."""
    path: Path
    info: DatasetInfo
    index: pa.Table | None
    recordings: pa.Table | None

    def fault(
        self, file: str, message: str, *, sample: str | None = None, offset: int | None = None
    ) -> Fault:
        """Return a fault of this set."""
        return Fault(self.name, file, sample, offset, message)

    def unreadable(self, file: str, error: OSError) -> Fault:
        """Return the fault of a file that the system does not give."""
        return self.fault(file, f"cannot be read ({error.strerror})")


class RecordingRows:
    """Rows of `recordings.parquet` by name; only the last few are kept as Python objects."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._places = {name: row for row, name in enumerate(table["recording"].to_pylist())}
        self._read = lru_cache(maxsize=64)(self._row)

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return the row of a recording, or None if there is none."""
        place = self._places.get(name)
        return None if place is None else self._read(place)

    def _row(self, place: int) -> Mapping[str, Any]:
        row: Mapping[str, Any] = self._table.slice(place, 1).to_pylist()[0]
        return row
