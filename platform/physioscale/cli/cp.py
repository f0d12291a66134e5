"""`physioscale cp`: copy a recipe out of the package, to change it."""

import argparse
import shlex
import shutil
from pathlib import Path

from physioscale.cli.command import Command
from physioscale.cli.place import placing
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.recipes.header import RecipeInfo
from physioscale.recipes.loader import check_name, load_recipe

IGNORED = shutil.ignore_patterns("__pycache__", ".*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="name of a recipe; `physioscale ls` prints all")
    parser.add_argument("dir", type=Path, help="folder of recipe folders; made if missing")
    parser.add_argument("--name", help="name of the copy; the recipe's own if not given")


def run(arguments: argparse.Namespace) -> int:
    info = load_recipe(arguments.recipe).info
    name = info.name if arguments.name is None else arguments.name
    target = copy_recipe(info, arguments.dir, name=name)
    folder = shlex.quote(str(arguments.dir))
    print(f"copied {info.name} to {target}")
    print(f"use it with {ENVIRONMENT_VARIABLE}={folder} physioscale validate {name}")
    if name == info.name:
        print(f"there it takes the place of the installed {name}; --name gives it another name")
    return 0


def copy_recipe(info: RecipeInfo, folder: Path, *, name: str) -> Path:
    """Copy a recipe to `folder/name` and return that path.

    Raises:
        InputError: the name cannot be a recipe's, or the target exists.
    """
    check_name(name)
    target = folder / name
    with placing(target) as made:
        shutil.copytree(info.folder, made, ignore=IGNORED)
    return target


COMMAND = Command(
    name="cp",
    help="Copy a recipe's folder out, to change it",
    example="physioscale cp reve my_recipes --name my_reve",
    add_arguments=add_arguments,
    run=run,
)
