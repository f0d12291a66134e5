"""`physioscale train`: pretrain a recipe, or go on with a run that was begun.

Exit status: 0 when the run has all its steps or stands at `trainer.stop_at_step`; 143 (SIGTERM) or
130 (SIGINT) when a signal ended it after a checkpoint; 2 for a mistake.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from physioscale.cli.command import Command

if TYPE_CHECKING:
    from physioscale.training import RunResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="name of a recipe; `physioscale ls` prints all")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings; variant=NAME picks a size, data.shards=DIR names shards to read",
    )


def run(arguments: argparse.Namespace) -> int:
    from physioscale.cli.train_progress import progress_view
    from physioscale.recipes.loader import load_recipe

    config = load_recipe(arguments.recipe).resolve(overrides=arguments.overrides)
    from physioscale.training import fit

    result = fit(config, views=[progress_view], announce=_announce)
    # Ranks that were started by rank 0 end quietly: it says for all how the launch ended, and a
    # status other than 0 would be taken for a crash.
    if result.rank:
        return 0
    _conclude(result, arguments)
    return 128 + result.signum if result.signum else 0


def _announce(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)


def _conclude(result: "RunResult", arguments: argparse.Namespace) -> None:
    line = " ".join(["physioscale train", arguments.recipe, *arguments.overrides])
    if result.signum:
        name = signal.Signals(result.signum).name
        print(f"{name}: saved after step {result.step} of {result.max_steps}")
        print(f"next: the same line goes on from there: {line}")
    elif result.finished:
        print(f"finished: {result.step} steps in {result.folder}")
        print(
            f"next: physioscale evaluate {arguments.recipe} --checkpoint {result.folder} "
            "--shards DIR --label task"
        )
    else:
        print(f"stopped after step {result.step} of {result.max_steps}, in {result.folder}")
        print("next: the same line without trainer.stop_at_step goes on from there")
    if result.tracking_failures:
        print(
            f"calls of tracking that failed: {result.tracking_failures}; "
            f"{result.folder}/metrics.jsonl is complete",
            file=sys.stderr,
        )


COMMAND = Command(
    name="train",
    help="Pretrain a recipe on shards, or go on with a run",
    example="physioscale train reve variant=debug data.shards=shards/eegmat\n"
    "physioscale train reve variant=base 'data.shards=[a, b]' trainer.devices=8",
    add_arguments=add_arguments,
    run=run,
)
