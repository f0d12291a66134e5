"""The command line: `physioscale COMMAND`, built from entry points."""

from physioscale.cli.command import CatalogueEntry, Command

__all__ = ["CatalogueEntry", "Command"]
