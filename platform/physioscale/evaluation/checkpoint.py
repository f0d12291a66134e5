"""A checkpoint of a run as a frozen module: found by name, compared with its manifest, loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from physioscale.config import RunConfig
from physioscale.errors import InputError, MissingInputError, suggest
from physioscale.recipes.loader import Recipe, read_run_config
from physioscale.training import PretrainingModule
from physioscale.training.checkpoint import checkpoint_step, list_checkpoints, verify_checkpoint
from physioscale.training.run_folder import CHECKPOINTS, CONFIG_FILE, RunFolder
from physioscale.training.state import MODEL_FILE

_SHOWN = 8


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, and the run it belongs to."""

    path: Path
    run: RunFolder
    recipe: Recipe
    config: RunConfig

    @property
    def step(self) -> int:
        """Updates before it."""
        return checkpoint_step(self.path)


def find_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in folder `path`, or the newest one if `path` is a run folder.

    Raises:
        MissingInputError: there is no such folder, or nothing in it; lists those that exist.
        InputError: a file of the checkpoint is missing or was changed.
    """
    # A checkpoint that is named from inside its run still has a run above it.
    folder = path if len(path.parts) > 2 else path.absolute()
    if (folder / CONFIG_FILE).is_file():
        run = RunFolder(folder)
        checkpoints = list_checkpoints(run.checkpoints)
        if not checkpoints:
            raise _missing(path, "a run without a checkpoint yet", [])
        found = checkpoints[-1]
    else:
        run = RunFolder(folder.parent.parent)
        if folder not in list_checkpoints(folder.parent) or not run.config.is_file():
            raise _missing(path, _what(folder), _existing(folder))
        found = folder
    verify_checkpoint(found)
    recipe, config = read_run_config(run.config)
    return Checkpoint(found, run, recipe, config)


def trained_module(checkpoint: Checkpoint) -> PretrainingModule:
    """Return the module with the checkpoint's weights, in evaluation mode.

    Raises:
        InputError: the recipe's code no longer has the tensors of the checkpoint.
    """
    # Its own seed is not used for anything: every tensor is replaced.
    module = untrained_module(checkpoint, seed=0)
    file = checkpoint.path / MODEL_FILE
    tensors = load_file(file)
    differing = sorted(
        name
        for name, tensor in module.state_dict().items()
        if name not in tensors or tensors[name].shape != tensor.shape
    ) + sorted(set(tensors) - set(module.state_dict()))
    if differing:
        raise InputError(
            str(file),
            found=f"tensors that differ from the recipe's code: {_listed(differing)}",
            expected=f"those of recipe {checkpoint.config.recipe}, variant "
            f"{checkpoint.config.variant}",
            do="Use the code that trained it (its commit is in run.json).",
        )
    module.load_state_dict(tensors)
    return module


def untrained_module(checkpoint: Checkpoint, *, seed: int) -> PretrainingModule:
    """Return the same architecture with the random initialisation of a seed."""
    parts = checkpoint.recipe.parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = parts.lightning_module(
            parts.build_model(checkpoint.config.model), checkpoint.config
        )
    assert isinstance(module, PretrainingModule)
    module.eval()
    return module


def _what(path: Path) -> str:
    if not path.exists():
        return "no such folder"
    return f"neither a run (no {CONFIG_FILE} in it) nor a finished checkpoint of one"


def _existing(path: Path) -> list[Path]:
    """Return the checkpoints near `path`: beside it, below it, or those of the runs beside it."""
    for folder in (path.parent, path / CHECKPOINTS, path):
        found = list_checkpoints(folder)
        if found:
            return found
    near = [path, path.parent, path.parent.parent]
    runs = [run for folder in near if folder.is_dir() for run in sorted(folder.iterdir())]
    return [run for run in runs if (run / CONFIG_FILE).is_file()]


def _missing(path: Path, found: str, existing: Sequence[Path]) -> MissingInputError:
    near = suggest(path.name, [one.name for one in existing])
    return MissingInputError(
        f"--checkpoint {path}",
        found=f"{found}{near}",
        expected="a run folder, or a folder checkpoints/step-... in one",
        do=f"There are: {_listed([_short(one) for one in existing])}."
        if existing
        else "Train one with `physioscale train`.",
    )


def _short(path: Path) -> str:
    """Return the path relative to the working folder where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
