"""`physioscale evaluate`: a linear probe on the frozen encoder of a checkpoint."""

import argparse
import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from physioscale.cli.command import Command
from physioscale.cli.output import print_json, print_table
from physioscale.cli.progress import progress
from physioscale.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from physioscale.evaluation import Checkpoint, EvaluationResult

EVALUATIONS = "evaluations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recipe", help="the recipe that trained the checkpoint")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="a run folder (its newest checkpoint) or one of its checkpoints/step-...",
    )
    parser.add_argument(
        "--shards", type=Path, nargs="+", required=True, metavar="DIR", help="labelled shard sets"
    )
    parser.add_argument(
        "--label", default="task", help="task, or a label of the recordings (default: task)"
    )
    parser.add_argument(
        "--folds",
        default="split",
        help="split (the shards' train, val and test), leave-one-subject-out, or a number of "
        "folds over subjects (default: split)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="random repeats (default: 3)")
    parser.add_argument(
        "--baselines",
        choices=("random", "none"),
        default="random",
        help="compare with the same architecture at random initialisation (default: random)",
    )
    parser.add_argument(
        "--allow-overlap",
        action="store_true",
        help="go on although pretraining has seen test subjects; the table is marked",
    )
    parser.add_argument("--batch", type=int, default=64, help="windows encoded at once")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to encode"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the table and write it as JSON into the run folder."""
    from physioscale.contract import publish_bytes
    from physioscale.evaluation import EvaluationSettings, evaluate_checkpoint, find_checkpoint

    checkpoint = find_checkpoint(arguments.checkpoint)
    _check_recipe(checkpoint, arguments.recipe)
    settings = EvaluationSettings(
        label=arguments.label,
        folds=arguments.folds,
        seeds=arguments.seeds,
        random_baseline=arguments.baselines == "random",
        allow_overlap=arguments.allow_overlap,
        batch=arguments.batch,
    )
    result = evaluate_checkpoint(
        checkpoint,
        arguments.shards,
        settings=settings,
        device=_device(arguments.device),
        announce=_silent if arguments.json else print,
        track=_track,
    )
    content = result.to_json()
    file = result_file(checkpoint, result)
    file.parent.mkdir(exist_ok=True)
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    publish_bytes(file, f"{text}\n".encode())
    if arguments.json:
        print_json(content)
    else:
        _print_result(result, file)
    return 0


def result_file(checkpoint: "Checkpoint", result: "EvaluationResult") -> Path:
    """Return where an evaluation is written; the same question of the same checkpoint again."""
    corpora = [shard_set["corpus"] for shard_set in result.shard_sets]
    words = (checkpoint.path.name, *corpora, result.label, result.folds)
    name = "-".join(re.sub(r"[^A-Za-z0-9_-]+", "_", word) for word in words)
    return checkpoint.run.path / EVALUATIONS / f"{name}.json"


def _check_recipe(checkpoint: "Checkpoint", name: str) -> None:
    from physioscale.recipes.loader import load_recipe

    # An unknown name gets the message that says so.
    load_recipe(name)
    if checkpoint.config.recipe != name:
        raise InputError(
            str(checkpoint.path),
            found=f"a checkpoint of recipe '{checkpoint.config.recipe}'",
            expected=f"one of '{name}'",
            do=f"Write `physioscale evaluate {checkpoint.config.recipe} ...`.",
        )


def _device(name: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "--device", found="cuda, but no CUDA device", expected="one", do="Use --device cpu."
        )
    return "cuda" if available and name != "cpu" else "cpu"


def _track(what: str, total: int) -> "AbstractContextManager[Callable[[int], None]]":
    return progress(what, total=total, unit="windows" if what == "encode" else "probes")


def _silent(line: str) -> None:
    return None


def _print_result(result: "EvaluationResult", file: Path) -> None:
    title = (
        f"Linear probe of {result.recipe} {result.variant} after step {result.step}: "
        f"{result.label}, {result.folds}"
    )
    if not result.leakage.clean:
        title += " (NOT HELD OUT)" if result.leakage.checked else " (LEAKAGE NOT CHECKED)"
    print_table(title, *result.table())
    for line in result.describe():
        print(f"  {line}")
    print(f"written to {file}")


COMMAND = Command(
    name="evaluate",
    help="Probe the frozen encoder of a checkpoint on labelled shards",
    example="physioscale evaluate reve --checkpoint runs/my-run --shards shards/eegmat "
    "--label task\n"
    "physioscale evaluate reve --checkpoint runs/my-run/checkpoints/step-00000300 "
    "--shards shards/eegmat --folds leave-one-subject-out",
    add_arguments=add_arguments,
    run=run,
)
