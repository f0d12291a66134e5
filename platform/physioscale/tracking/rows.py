"""metrics.jsonl, the truth about a run's figures: a JSON object per global step.

Floats are written so that they read back to the same bits; numbers JSON does not know are written
as the texts "nan", "inf" and "-inf". The file is only appended to. A run that went back to a
checkpoint has the steps since then twice, told apart by `attempt`; `read_rows` returns the newest.
"""

import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_log = logging.getLogger(__name__)
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class RowWriter:
    """Appends rows to metrics.jsonl; a context manager."""

    def __init__(self, path: Path) -> None:
        _cut_torn_line(path)
        self._stream = path.open("a", encoding="utf-8")

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows and hand them to the operating system."""
        self._stream.writelines(f"{_render(row)}\n" for row in rows)
        self._stream.flush()

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_rows(path: Path) -> list[Row]:
    """Return one row per step in the order of steps, each of its newest attempt.

    A torn last line (the process was killed while writing) is left out.
    """
    newest: dict[int, Row] = {}
    text = path.read_text(encoding="utf-8")
    for line in text[: text.rfind("\n") + 1].splitlines():
        row: Row = {name: _NOT_FINITE.get(v, v) for name, v in json.loads(line).items()}
        newest[row["step"]] = row
    return [newest[step] for step in sorted(newest)]


def _render(row: Row) -> str:
    # json writes a float as its shortest text that reads back to the same value.
    values = {name: _as_json(value) for name, value in row.items()}
    return json.dumps(values, allow_nan=False, separators=(", ", ": "))


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cut_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        _log.warning("%s: cut %d bytes of a line torn by a kill", path, len(data) - whole)
        os.truncate(path, whole)
