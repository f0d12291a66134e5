"""`physioscale ls`: the recipes, profiles and corpora that are installed.

The lists come from entry points, so that the converters' profiles and corpora are printed without
this package knowing the converters.
"""

import argparse
import sys
from importlib.metadata import entry_points
from typing import Any

from physioscale.cli.command import CATALOGUES_GROUP, CatalogueEntry, Command
from physioscale.cli.output import print_json, print_table

FIRST = ("recipes", "profiles", "corpora")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    catalogues = load_catalogues()
    if arguments.json:
        print_json({name: [as_json(entry) for entry in rows] for name, rows in catalogues.items()})
    else:
        for name, entries in catalogues.items():
            _print_catalogue(name, entries)
    problems = [entry for rows in catalogues.values() for entry in rows if entry.problem]
    for entry in problems:
        print(f"error: {entry.name}: {entry.problem}", file=sys.stderr)
    return 2 if problems else 0


def load_catalogues() -> dict[str, list[CatalogueEntry]]:
    """Return the entries of every catalogue by its name: recipes first, then what they need."""
    found = {entry.name: entry.load() for entry in entry_points(group=CATALOGUES_GROUP)}
    names = [name for name in FIRST if name in found]
    names += sorted(set(found) - set(names))
    return {name: found[name]() for name in names}


def as_json(entry: CatalogueEntry) -> dict[str, Any]:
    """Return an entry as the object that `ls --json` prints."""
    row = {"name": entry.name, "title": entry.title, **entry.details, "path": str(entry.path)}
    return row if entry.problem is None else {**row, "problem": entry.problem}


def _print_catalogue(name: str, entries: list[CatalogueEntry]) -> None:
    if not entries:
        print(f"{name}: none")
        return
    extra = list(dict.fromkeys(key for entry in entries for key in entry.details))
    rows = []
    for entry in entries:
        details = [entry.details.get(key, "") for key in extra]
        words = [cell if isinstance(cell, str) else ", ".join(cell) for cell in details]
        title = "BROKEN, see the message below" if entry.problem else entry.title
        rows.append([entry.name, *words, title])
    print_table(name, ["name", *extra, "title"], rows)


COMMAND = Command(
    name="ls",
    help="List the recipes, profiles and corpora",
    example="physioscale ls\nphysioscale ls --json",
    add_arguments=add_arguments,
    run=run,
)
