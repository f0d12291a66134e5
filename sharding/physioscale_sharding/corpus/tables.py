"""Tables beside recordings: TSV and CSV files, typed by column, without what identifies people.

In:  a `.tsv` or `.csv` file with a header line (UTF-8, with or without byte order mark).
Out: rows as text, and label columns as numbers, text or None ("n/a", "").

A column is numeric when every value in it is a number; otherwise all of it stays text, so that
"012" next to "A" is never turned into 12. Columns whose name or values are those of names, birth
dates, exact dates, addresses, record numbers or free text are left out, and named in a note.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from physioscale.errors import InputError
from physioscale_sharding.corpus.recording import Label

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_ABSENT = frozenset({"", "n/a", "N/A"})
_IDENTIFYING = re.compile(
    r"(?:(?:first|last|sur|given|family|middle|maiden|patient|full|participant|subject)[_ -]?)?name"
    r"|.*[_ -]name|operator|technician|technologist|physician|doctor|nurse|(?:experiment|test)er"
    r"|vorname|nachname|nom|prenom|initials|d\.?o\.?b\.?|birth.*|.*[_ -]birth"
    r"|.*birth[_ -]?da(?:y|te)|geburts.*|(?:.*[_ -])?date(?:time)?"
    r"|(?:acq|scan|recording|visit|exam)[_ -]?time"
    r"|comments?|notes?|remarks?|(?:free)?[_ -]?text|report"
    r"|address|street|city|zip.*|post(?:al)?[_ -]?code|(?:tele)?phone.*|e-?mail|ssn|mrn"
    r"|(?:medical|hospital)[_ -]?(?:record|number|id).*|patient[_ -]?(?:id|number)|insurance.*",
    flags=re.IGNORECASE,
)
_COMPACT_DATE = re.compile(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4})(?:[T ]\d{1,2}:.*)?"
)


@dataclass(frozen=True)
class Table:
    """A table as text."""

    name: str
    """File name for messages."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str | None]:
        """Return the values of a column; None where absent.

        Raises:
            InputError: no such column.
        """
        if name not in self.columns:
            raise _bad(self.name, f"no column {name}", f"{name} among {_few(self.columns)}")
        at = self.columns.index(name)
        return [None if row[at] in _ABSENT else row[at] for row in self.rows]


def read_table(path: Path, *, where: str) -> Table:
    """Return the table at `path`.

    Raises:
        InputError: unreadable, no header, a column twice, or rows of another length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(where, f"byte {error.start} is not UTF-8", "UTF-8 text") from None
    except OSError as error:
        raise _bad(where, f"cannot be read ({error.strerror})", "a table") from None
    lines = text.splitlines()
    header = lines[0] if lines else ""
    rows = [row for row in csv.reader(lines, delimiter=_delimiter(path, header)) if any(row)]
    if not rows:
        raise _bad(where, "no header line", "a table with a header line")
    columns = tuple(name.strip() for name in rows[0])
    if len(set(columns)) < len(columns):
        raise _bad(where, "a column name that occurs twice", "different names")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            found = f"row {number} has {len(row)} values"
            raise _bad(where, found, f"{len(columns)}, as its header has")
    values = tuple(tuple(value.strip() for value in row) for row in rows[1:])
    return Table(name=where, columns=columns, rows=values)


def labels_of_rows(
    table: Table, *, leave_out: Iterable[str] = ()
) -> tuple[list[dict[str, Label]], tuple[str, ...]]:
    """Return the label columns of each row, and a note on the columns that identify people.

    Args:
        table: any table.
        leave_out: columns that are no labels (file, subject ...).
    """
    kept: dict[str, list[Label]] = {}
    dropped = []
    for name in table.columns:
        if name in set(leave_out) or not name:
            continue
        values = table.column(name)
        if _IDENTIFYING.fullmatch(name) or _holds_dates([value for value in values if value]):
            dropped.append(name)
            continue
        kept[name] = _typed(values)
    note = f"columns_left_out: {table.name}: {', '.join(dropped)} (names, dates, contacts or text)"
    rows = [{name: kept[name][row] for name in kept} for row in range(len(table.rows))]
    return rows, (note,) if dropped else ()


def rows_by(
    table: Table, key: str, *, rows: Sequence[Mapping[str, Label]]
) -> dict[str, dict[str, Label]]:
    """Return `rows` by the values of column `key`.

    Raises:
        InputError: no such column, or a value of it is absent or occurs twice.
    """
    found: dict[str, dict[str, Label]] = {}
    for number, (name, row) in enumerate(zip(table.column(key), rows, strict=True), start=2):
        if name is None or name in found:
            what = "no value" if name is None else "a value that occurs before"
            raise _bad(table.name, f"row {number} has {what} in column {key}", "one row for each")
        found[name] = dict(row)
    return found


def number(text: str | None) -> float | None:
    """Return the number that a cell holds, or None."""
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _holds_dates(values: Sequence[str]) -> bool:
    # Eight digits may also be a plain number, so all values have to look like dates.
    compact = bool(values) and all(_COMPACT_DATE.fullmatch(value) for value in values)
    return compact or any(_DATE.fullmatch(value) for value in values)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8])


def _typed(values: Sequence[str | None]) -> list[Label]:
    present = [value for value in values if value is not None]
    if all(_NUMBER.fullmatch(value) for value in present):
        return [number(value) for value in values]
    return list(values)


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return ";" if header.count(";") > header.count(",") else ","


def _bad(where: str, found: str, expected: str) -> InputError:
    return InputError(where, found=found, expected=expected, do="Mend the table.")
