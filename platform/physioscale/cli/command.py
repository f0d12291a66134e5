"""A sub-command of `physioscale`, found through the entry-point group `physioscale.commands`.

A module that holds a command imports heavy libraries (torch, lightning, mne) inside its functions:
every command module is imported to build the parser, and `physioscale --help` answers at once.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMANDS_GROUP = "physioscale.commands"
CATALOGUES_GROUP = "physioscale.catalogues"


@dataclass(frozen=True)
class Command:
    """One sub-command: `name = "module:COMMAND"` in the entry points of a distribution."""

    name: str
    """The word on the command line."""
    help: str
    """One sentence, in the imperative, without a full stop."""
    example: str
    """A line, or lines, that work as they stand; printed at the end of `--help`."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Declares the arguments."""
    run: Callable[[argparse.Namespace], int]
    """Does the work and returns the exit status: 0, or 1 where the answer is "no"."""


@dataclass(frozen=True)
class CatalogueEntry:
    """A row of `physioscale ls`.

    An entry point of the group `physioscale.catalogues` names a callable without arguments that
    returns a list of these; the entry point's name (recipes, profiles, corpora) heads the list.
    """

    name: str
    """The word by which commands take it."""
    title: str
    """One line for a person."""
    path: Path
    """The file or folder it is defined in."""
    details: Mapping[str, str | list[str]] = field(default_factory=dict)
    """More columns: a text or a list of words for each."""
    problem: str | None = None
    """Why the entry cannot be used; None if it can."""
