"""`physioscale demo`: the whole path on a small generated corpus, on a CPU, in minutes.

Every step is one of the commands, run as its printed line would run it; every figure in the summary
is computed in this run. The corpus is made up: what the figures say about brains is nothing.
"""

import argparse
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from physioscale.cli.command import Command
from physioscale.errors import InputError

# Where `evaluate` and `train` write, below the run folder.
_EVALUATIONS, _METRICS = "evaluations", "metrics.jsonl"
_DEFAULT_OUT = "demo"
# Ours: short windows and a large batch, so that a few minutes on two cores are enough to learn.
_TRAINING = (
    "variant=debug",
    "data.window_s=2",
    "data.batch_samples=64",
    "trainer.accelerator=cpu",
    "trainer.log_every_steps=50",
)
_SPLIT = "val=0.2,test=0.3"
# Fewer people would leave a split without anyone.
_LEAST_SUBJECTS = 6
_LEAST_STEPS = 20
# The very first steps are left out: the learning rate is next to nothing there.
_FIRST_STEPS, _LAST_STEPS = slice(4, 15), slice(-20, None)


@dataclass(frozen=True)
class _Places:
    """Where the demo puts what it makes."""

    out: Path

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    @property
    def shards(self) -> Path:
        return self.out / "shards"

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    @property
    def run(self) -> Path:
        return self.runs / "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"new folder for everything (default: {_DEFAULT_OUT}, or the next free number)",
    )
    parser.add_argument("--recipe", default="reve", help="recipe to train (default: reve)")
    parser.add_argument(
        "--subjects", type=int, default=12, help="people in the corpus (default: 12)"
    )
    parser.add_argument("--steps", type=int, default=400, help="training steps (default: 400)")


def run(arguments: argparse.Namespace) -> int:
    """Make a corpus, convert, verify, train and evaluate; stop where a step fails."""
    _check(arguments)
    places = _Places(_new_folder(arguments.out))
    began = time.monotonic()
    broken = _write_corpus(places, arguments.subjects)
    steps = _steps(places, recipe=arguments.recipe, steps=arguments.steps)
    for number, (title, words) in enumerate(steps, start=2):
        status = _run_step(f"{number}. {title}", words)
        if status:
            return status
    for line in _summary(places, arguments, broken, seconds=time.monotonic() - began):
        print(line)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    from physioscale.recipes.loader import load_recipe

    # Known before anything is written.
    load_recipe(arguments.recipe)
    least = {"subjects": _LEAST_SUBJECTS, "steps": _LEAST_STEPS}
    for name, value in least.items():
        if getattr(arguments, name) < value:
            raise InputError(
                f"--{name}",
                found=str(getattr(arguments, name)),
                expected=f"at least {value}",
                do="Leave it out.",
            )


def _new_folder(out: Path | None) -> Path:
    """Return the folder to work in: the one asked for if it is empty, else a free default."""
    if out is None:
        names = (_DEFAULT_OUT if n == 1 else f"{_DEFAULT_OUT}-{n}" for n in count(1))
        return next(path for path in map(Path, names) if not path.exists())
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"--out {out}",
            found="something there already",
            expected="a folder that does not exist yet, or is empty",
            do="Choose another folder; nothing was changed.",
        )
    return out


def _write_corpus(places: _Places, num_subjects: int) -> Path:
    """Write the corpus and return the file that was broken on purpose."""
    from physioscale.testing import write_bids_corpus

    print(f"1. Make a corpus: {num_subjects} people with eyes open and with eyes closed")
    truth = write_bids_corpus(places.corpus, num_subjects=num_subjects, broken=True)
    (broken,) = truth.broken
    first = truth.recordings[0]
    print(
        f"{len(truth.recordings)} EDF files of {first.num_samples / first.sampling_rate_hz:g} s, "
        f"{len(first.channel_names)} channels, {first.sampling_rate_hz:g} Hz, in {places.corpus}; "
        "one more file was broken on purpose"
    )
    return broken


def _steps(places: _Places, *, recipe: str, steps: int) -> list[tuple[str, list[str]]]:
    """Return the commands: a title and the words after `physioscale`."""
    shards = str(places.shards)
    place = [f"run.root={places.runs}", f"run.name={places.run.name}"]
    return [
        (
            "Convert it into shards, split by person",
            ["shard", str(places.corpus), "--out", shards, "--split", _SPLIT],
        ),
        ("Verify the shards", ["verify", shards]),
        (
            "Pretrain without labels",
            [
                "train",
                recipe,
                f"data.shards={shards}",
                *_TRAINING,
                f"trainer.max_steps={steps}",
                *place,
            ],
        ),
        (
            "Probe the frozen encoder on people it has never seen",
            [
                "evaluate",
                recipe,
                "--checkpoint",
                str(places.run),
                "--shards",
                shards,
                "--label",
                "task",
                "--device",
                "cpu",
            ],
        ),
    ]


def _run_step(title: str, words: Sequence[str]) -> int:
    """Run a command as its line would, in this process."""
    from physioscale.cli.main import build_parser, load_commands

    print(f"\n{title}\n$ {shlex.join(['physioscale', *words])}", flush=True)
    began = time.monotonic()
    parsed = build_parser(load_commands()).parse_args(words)
    status: int = parsed.run(parsed)
    print(f"({time.monotonic() - began:.1f} s)", flush=True)
    return status


def _summary(
    places: _Places, arguments: argparse.Namespace, broken: Path, *, seconds: float
) -> list[str]:
    """Return the closing lines: what was found, where it is, what to try next."""
    from physioscale.contract import QUARANTINE_FILE

    losses = _losses(places.run)
    first, last = _mean(losses[_FIRST_STEPS]), _mean(losses[_LAST_STEPS])
    (file,) = (places.run / _EVALUATIONS).glob("*.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    reasons = [json.loads(line)["reason"] for line in _lines(places.shards / QUARANTINE_FILE)]
    return [
        f"\nDone in {seconds:.0f} s. All of it was computed in this run, on made-up signals:",
        f"  set aside: {len(reasons)} file ({'; '.join(reasons)}); "
        f"{broken.name} was broken on purpose",
        f"  loss {first:.3f} -> {last:.3f} (first steps -> last steps of {len(losses)})",
        *(f"  {line}" for line in _probe_lines(result)),
        "",
        "Where things are:",
        f"  {places.corpus}  the recordings, a BIDS tree of EDF files",
        f"  {places.shards}  the shards; quarantine.jsonl says what was set aside, and why",
        f"  {places.run}  the run: config.yaml, metrics.jsonl, checkpoints, evaluations",
        "",
        "What to try next:",
        f"  physioscale show {arguments.recipe}",
        "  physioscale shard FOLDER_WITH_YOUR_EDF_FILES --out my-shards",
        f"  physioscale validate {arguments.recipe} data.shards=my-shards",
        f"  physioscale train {arguments.recipe} variant=debug data.shards=my-shards",
    ]


def _probe_lines(result: dict[str, Any]) -> list[str]:
    figures = {one["name"]: one["figures"]["balanced_accuracy"] for one in result["encoders"]}
    gain = result["gain"]["balanced_accuracy"]
    helped = gain["low"] is not None and gain["low"] > 0
    verdict = "pretraining helped" if helped else "no clear gain from pretraining in this run"
    chance = 1 / len(result["classes"])
    return [
        f"eyes open or closed, {result['tested_subjects']} people held out, balanced accuracy "
        f"(chance {chance:.2f}): pretrained {_figure(figures['pretrained'])}, "
        f"random weights {_figure(figures['random'])}",
        f"{verdict}: {_figure(gain, sign='+')}",
    ]


def _figure(figure: dict[str, float | None], *, sign: str = "") -> str:
    text = f"{figure['value']:{sign}.3f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low']:{sign}.3f}, {figure['high']:{sign}.3f}]"


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in _lines(run / _METRICS)]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


COMMAND = Command(
    name="demo",
    help="Show the whole path on a small generated corpus, on a CPU, in minutes",
    example="physioscale demo --out demo",
    add_arguments=add_arguments,
    run=run,
)
