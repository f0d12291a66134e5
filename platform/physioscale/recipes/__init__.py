"""Recipes as ordinary modules: `physioscale.recipes.<name>.model`, `.training`.

The recipe folders are appended to this package's search path, so a recipe pickles and is imported
by spawned workers and other nodes like any other module. The places, in order: the folders named in
`PHYSIOSCALE_RECIPES` (separated by the system's path separator), the recipes shipped inside the
installed package, else the `recipes/` folder of the checkout.

Nobody imports a recipe by its dotted name in source: `physioscale.recipes.loader` returns typed
objects for a name.
"""

import importlib
import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "PHYSIOSCALE_RECIPES"


def recipe_roots() -> list[Path]:
    """Return the folders in which recipe folders are looked for, first match wins."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_resources" / "recipes"
    checkout = package.parent.parent / "recipes"
    roots = [*_named_roots(), shipped if shipped.is_dir() else checkout]
    return [root for root in roots if root.is_dir()]


def missing_roots() -> list[Path]:
    """Return the folders that `PHYSIOSCALE_RECIPES` names and that do not exist."""
    return [root for root in _named_roots() if not root.is_dir()]


def refresh_search_path() -> None:
    """Take up recipe folders and a `PHYSIOSCALE_RECIPES` that appeared after the import."""
    __path__[1:] = [str(root) for root in recipe_roots()]
    importlib.invalidate_caches()


def _named_roots() -> list[Path]:
    entries = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    return [Path(entry).resolve() for entry in entries if entry]


refresh_search_path()
