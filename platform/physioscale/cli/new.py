"""`physioscale new`: write a working recipe to start from."""

import argparse
import shlex
from pathlib import Path

from physioscale.cli.command import Command
from physioscale.cli.place import placing, refuse_existing
from physioscale.recipes import ENVIRONMENT_VARIABLE, recipe_roots
from physioscale.recipes.header import KINDS
from physioscale.recipes.scaffold import (
    CHANNEL_TYPES,
    check_choices,
    scaffold_test,
    write_scaffold,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="snake_case, as the paper names its model")
    parser.add_argument(
        "--kind", default="encoder", help=f"{', '.join(KINDS)}: which shared checks apply"
    )
    parser.add_argument("--modality", default="eeg", help=", ".join(CHANNEL_TYPES))
    parser.add_argument(
        "--dir", type=Path, default=Path("recipes"), help="folder of recipe folders (./recipes)"
    )


def run(arguments: argparse.Namespace) -> int:
    name, folder = arguments.name, arguments.dir
    asked = {"name": name, "kind": arguments.kind, "modality": arguments.modality}
    check_choices(**asked)
    test_path = _test_path(folder, name)
    refuse_existing(test_path)
    with placing(folder / name) as made:
        write_scaffold(made, **asked)
    test_path.write_text(scaffold_test(**asked), encoding="utf-8")
    print(f"wrote {folder / name} and {test_path}")
    if arguments.kind != "encoder":
        print(f"the network is an encoder: make it a {arguments.kind}, as the shared checks ask")
    prefix = ""
    if folder.resolve() not in recipe_roots():
        prefix = f"{ENVIRONMENT_VARIABLE}={shlex.quote(str(folder))} "
    print(f"next: {prefix}physioscale validate {name}")
    print(f"      {prefix}python -m pytest {shlex.quote(str(test_path))}")
    print(f"      {prefix}physioscale train {name} variant=debug data.shards=DIR")
    return 0


def _test_path(folder: Path, name: str) -> Path:
    """Return where the test goes: tests/recipes of a checkout, else beside the recipe's files."""
    tests = folder.resolve().parent / "tests" / "recipes"
    return tests / f"test_{name}.py" if tests.is_dir() else folder / name / f"test_{name}.py"


COMMAND = Command(
    name="new",
    help="Write a working recipe to start from",
    example="physioscale new my_encoder --modality ecg --dir my_recipes",
    add_arguments=add_arguments,
    run=run,
)
