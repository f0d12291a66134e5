"""A trained module from a run folder or a checkpoint, for probes, embeddings and exports."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from physioscale.config import RunConfig
from physioscale.errors import InputError, MissingInputError
from physioscale.recipes.loader import Recipe, read_run_config
from physioscale.training.checkpoint import checkpoint_step, list_checkpoints, verify_checkpoint
from physioscale.training.module import PretrainingModule
from physioscale.training.run_folder import CHECKPOINTS, CONFIG_FILE
from physioscale.training.state import MODEL_FILE


@dataclass(frozen=True)
class Pretrained:
    """What a checkpoint holds for those who do not train on."""

    recipe: Recipe
    config: RunConfig
    """Of the run."""
    module: PretrainingModule
    """In evaluation mode, on the CPU."""
    checkpoint: Path
    step: int
    """Updates it was trained for."""


def load_pretrained(path: Path | str) -> Pretrained:
    """Load the module of a checkpoint; of a run folder, its newest one.

    The checkpoint is compared with its manifest first; only safetensors are read.

    Raises:
        MissingInputError: no such folder, or a run without a checkpoint.
        InputError: the checkpoint is damaged, or its recipe is not installed here.
    """
    checkpoint = find_checkpoint(Path(path))
    verify_checkpoint(checkpoint)
    recipe, config = read_run_config(checkpoint.parent.parent / CONFIG_FILE)
    module = recipe.parts.lightning_module(recipe.parts.build_model(config.model), config)
    if not isinstance(module, PretrainingModule):
        raise InputError(
            f"recipe '{config.recipe}'",
            found=f"a module of type {type(module).__name__}",
            expected="a PretrainingModule",
            do="Derive the recipe's module from physioscale.training.PretrainingModule.",
        )
    module.load_state_dict(load_file(checkpoint / MODEL_FILE))
    module.eval()
    return Pretrained(recipe, config, module, checkpoint, checkpoint_step(checkpoint))


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that `path` names: itself, or the newest of a run folder."""
    if not path.is_dir():
        raise MissingInputError(
            str(path), found="no such folder", expected="a run folder or a checkpoint", do=_DO
        )
    if (path / CONFIG_FILE).is_file():
        checkpoints = list_checkpoints(path / CHECKPOINTS)
        if not checkpoints:
            raise MissingInputError(
                str(path / CHECKPOINTS), found="no checkpoint", expected="at least one", do=_DO
            )
        return checkpoints[-1]
    checkpoint_step(path)
    if not (path.parent.parent / CONFIG_FILE).is_file():
        raise MissingInputError(
            str(path.parent.parent / CONFIG_FILE),
            found="no such file",
            expected="a checkpoint inside its run folder, whose config.yaml says how to build it",
            do=_DO,
        )
    return path


_DO = "Name a folder that `physioscale train` wrote, for example runs/NAME."
