"""A run folder with one checkpoint, without the training: for tests of what comes behind it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from physioscale.contract import publish_bytes
from physioscale.recipes.loader import load_recipe
from physioscale.training.checkpoint import begin_checkpoint, publish_checkpoint
from physioscale.training.run_folder import RunFolder, record_launch
from physioscale.training.state import MODEL_FILE


def write_run(
    folder: Path,
    *,
    recipe: str,
    overrides: Sequence[str] = (),
    steps: Sequence[int] = (10,),
    seed: int = 0,
) -> RunFolder:
    """Write the run folder of a recipe whose weights are those of its initialisation.

    Args:
        folder: the run folder, made where it is missing.
        recipe: name of the recipe.
        overrides: `key=value`, among them data.shards.
        steps: updates that its checkpoints claim; each has weights of its own.
        seed: of the first checkpoint's initialisation; the next one has the next.
    """
    chosen = load_recipe(recipe)
    place = [f"run.root={folder.parent}", f"run.name={folder.name}"]
    config = chosen.resolve(overrides=[*overrides, *place])
    run = RunFolder(folder)
    record_launch(run, config, plan_hash="", parameters={}, layout={}, first_step=0)
    for number, step in enumerate(steps):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            model = chosen.parts.build_model(config.model)
        module = chosen.parts.lightning_module(model, config)
        file = begin_checkpoint(run.checkpoints, step=step) / MODEL_FILE
        save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, file)
        publish_bytes(file.with_name("state.json"), b"{}\n")
        publish_checkpoint(run.checkpoints, step=step)
    return run
