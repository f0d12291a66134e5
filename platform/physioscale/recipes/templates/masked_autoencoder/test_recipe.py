"""RECIPE_NAME: counts, masking, and a loss that falls on windows from a real stream."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.recipes.counts import count_parameters
from physioscale.recipes.loader import Recipe, load_recipe
from physioscale.streaming import Batch, open_stream
from physioscale.testing.shards import write_shard_set


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("RECIPE_NAME")


@pytest.fixture(scope="module")
def config(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    shards: Path = tmp_path_factory.mktemp("shards") / "set"
    write_shard_set(shards)
    # The made-up shards are EEG, whatever the recipe is for.
    words = ["accepts.channel_types=eeg", "accepts.units=V"]
    words += [f"data.shards={shards}", f"data.cache_dir={shards.parent}"]
    return recipe.resolve(variant="debug", overrides=words)


@pytest.fixture(scope="module")
def module(recipe: Recipe, config: RunConfig) -> Any:
    torch.manual_seed(config.seed)
    return recipe.parts.lightning_module(recipe.parts.build_model(config.model), config)


@pytest.fixture(scope="module")
def batch(module: Any, config: RunConfig) -> Batch:
    stream = open_stream(config, split="train")
    with stream.train_loader(first_step=0, last_step=1) as loader:
        loaded: Batch = module.load_pipeline(next(iter(loader)))
    return loaded


@pytest.mark.parametrize("variant", ["base", "debug"])
def test_parameter_count_is_the_one_in_the_recipe(recipe: Recipe, variant: str) -> None:
    counts = count_parameters(recipe, recipe.resolve(variant=variant))
    assert counts.encoder == recipe.info.variants[variant].encoder_parameters
    assert counts.total > counts.encoder


def test_tokens_are_counted_as_the_encoder_makes_them(
    recipe: Recipe, config: RunConfig, module: Any, batch: Batch
) -> None:
    embeddings = module.encode(batch)
    num_tokens = recipe.parts.tokens_per_window(config, batch.signal.shape[1])
    assert embeddings.tokens.shape == (len(batch), num_tokens, config.model.dim)
    assert embeddings.pooled.shape == (len(batch), config.model.dim)


def test_input_has_the_scale_that_the_model_states(batch: Batch) -> None:
    mean, std = batch.signal.mean(dim=-1), batch.signal.std(dim=-1, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.ones_like(std), atol=1e-3, rtol=0)


def test_same_draws_give_the_same_loss(module: Any, batch: Batch) -> None:
    assert torch.equal(module.loss(batch)["loss"], module.loss(batch)["loss"])


def test_every_trainable_parameter_gets_a_gradient(module: Any, batch: Batch) -> None:
    module.zero_grad()
    module.loss(batch)["loss"].backward()
    without = [n for n, p in module.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_loss_falls_on_one_batch(recipe: Recipe, config: RunConfig, batch: Batch) -> None:
    torch.manual_seed(0)
    module = recipe.parts.lightning_module(recipe.parts.build_model(config.model), config)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = module.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


def test_window_shorter_than_a_patch_is_refused(module: Any, batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"window has 20 samples; at least one patch of 50"):
        module.model.encode(batch.signal[..., :20])


@pytest.mark.parametrize("share", ["0", "1", "-0.5"])
def test_mask_share_out_of_range_is_refused(share: str) -> None:
    training = importlib.import_module("physioscale.recipes.RECIPE_NAME.training")
    with pytest.raises(
        InputError, match=r"objective.mask_share: .* of 8 patches; expected a share"
    ):
        training.count_masked(8, mask_share=float(share))
