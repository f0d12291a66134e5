"""Output of commands: JSON for programs, a table for a terminal, aligned plain text for a pipe."""

import json
import sys
from collections.abc import Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print `value` as indented JSON in ASCII, whatever the locale."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a title: a drawn table on a terminal, aligned columns elsewhere."""
    if sys.stdout.isatty():
        _print_rich(title, columns, rows)
        return
    print(f"{title}:")
    for line in aligned([columns, *rows]):
        print(f"  {line}")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return each row as a line in which columns start at the same place."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _print_rich(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
