"""REVE's wiring: the settings are the sheet's, reach the network, and train through the engine."""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.random import Draws
from physioscale.recipes.loader import load_recipe
from physioscale.streaming import Batch, open_stream
from physioscale.testing.recordings import synthetic_recordings
from physioscale.testing.shards import write_shard_set
from physioscale.tracking import read_rows
from physioscale.training import PretrainingModule, fit

Configure = Callable[..., RunConfig]

NUM_CHANNELS = 9
# 4 s are 4 patches of 1 s that overlap by 0.1 s.
TOKENS = NUM_CHANNELS * 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "set"
    recordings = synthetic_recordings(
        4, num_val=0, num_test=0, num_channels=NUM_CHANNELS, duration_s=16.0
    )
    write_shard_set(folder, recordings=recordings)
    return folder


@pytest.fixture
def configure(shards: Path, tmp_path: Path) -> Configure:
    """Return a builder of configurations of the debug variant with windows of 4 s."""
    words = [f"data.shards={shards}", f"run.root={tmp_path / 'runs'}", "data.window_s=4"]
    words += ["data.batch_samples=8", "trainer.accelerator=cpu", "tracking.tensorboard=false"]
    return lambda *more: load_recipe("reve").resolve(variant="debug", overrides=[*words, *more])


def make_module(config: RunConfig) -> PretrainingModule:
    parts = load_recipe("reve").parts
    torch.manual_seed(0)
    module = parts.lightning_module(parts.build_model(config.model), config)
    assert isinstance(module, PretrainingModule)
    return module


def first_batch(config: RunConfig, module: PretrainingModule) -> Batch:
    """Return the first batch of the run as the module gets it."""
    stream = open_stream(config, split="train")
    try:
        with stream.train_loader(first_step=0, last_step=1) as loader:
            (batch,) = loader
            return module.load_pipeline(batch)
    finally:
        stream.close()


def part(batch: Batch, rows: slice) -> Batch:
    """Return some windows of a batch with their draws."""
    draws = Draws(
        batch.draws.seed, step=batch.draws.step, sample_index=batch.draws.sample_index[rows]
    )
    return dataclasses.replace(
        batch, signal=batch.signal[rows], positions_m=batch.positions_m[rows], draws=draws
    )


class TestSettings:
    def test_the_defaults_are_those_of_the_authors(self) -> None:
        config = load_recipe("reve").resolve()
        assert config.variant == "base"
        assert dataclasses.asdict(config.objective) == {
            "mask_ratio": 0.55,
            "block_patches": 3,
            "ball_radius_m": 0.03,
            "dropout_ratio": 0.10,
            "dropout_radius_m": 0.04,
            "mask_layout": "blocks",
            "pooled_weight": 0.1,
            "position_noise_m": 0.0025,
        }
        optimizer = config.optimizer
        assert (optimizer.name, optimizer.lr, optimizer.betas) == (
            "stable_adamw",
            1e-3,
            [0.92, 0.999],
        )
        assert (optimizer.eps, optimizer.weight_decay) == (1e-9, 0.01)
        assert config.trainer.gradient_clip_norm == 5.0
        schedule = config.schedule
        assert (schedule.start_lr, schedule.final_lr) == (1e-5, 1e-6)
        assert (schedule.warmup_share, schedule.cooldown_share) == (0.1, 0.1)
        load = config.load
        assert (load.sampling_rate_hz, load.low_cut_hz, load.high_cut_hz) == (200, 0.5, 99.5)
        assert (load.normalise, load.clip) == ("session", 15)

    @pytest.mark.parametrize("name", ["small", "base", "large", "large_paper"])
    def test_variants_have_the_counted_encoder_parameters(self, name: str) -> None:
        recipe = load_recipe("reve")
        config = recipe.resolve(variant=name)
        with torch.device("meta"):
            model = recipe.parts.build_model(config.model)
        counted = recipe.info.variants[name].encoder_parameters
        assert recipe.parts.encoder_parameters(model) == counted

    def test_the_token_budget_is_16_times_300_windows_over_channels(self) -> None:
        recipe = load_recipe("reve")
        config = recipe.resolve()
        assert config.data.batch_tokens is not None
        for channels in (7, 19, 64, 129):
            tokens = recipe.parts.tokens_per_window(config, channels)
            assert tokens == 11 * channels
            assert config.data.batch_tokens // tokens == 16 * 300 // channels

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["objective.mask_layout=relased"], "'relased'; did you mean 'released'"),
            (["load.sampling_rate_hz=256"], r"load\.sampling_rate_hz: 256.*expected 200"),
        ],
    )
    def test_settings_that_cannot_work_are_refused(
        self, configure: Configure, words: list[str], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            make_module(configure(*words))


class TestLoss:
    def test_terms_are_the_network_s_and_the_sum_is_weighted(self, configure: Configure) -> None:
        config = configure("objective.pooled_weight=0.3")
        module = make_module(config)
        terms = module.loss(first_batch(config, module))
        assert set(terms) == {"loss", "masked_l1", "pooled_l1", "zero_l1"}
        expected = terms["masked_l1"] + 0.3 * terms["pooled_l1"]
        torch.testing.assert_close(terms["loss"], expected)

    def test_evaluation_has_one_term_and_no_noise(self, configure: Configure) -> None:
        config = configure("objective.position_noise_m=0.05")
        module = make_module(config)
        batch = first_batch(config, module)
        noisy = module.loss(batch)
        module.eval()
        terms = module.loss(batch)
        assert set(terms) == {"loss", "masked_l1", "zero_l1"}
        assert terms["loss"] == terms["masked_l1"] != noisy["masked_l1"]

    def test_noise_and_masks_follow_the_draws(self, configure: Configure) -> None:
        config = configure()
        module = make_module(config)
        batch = first_batch(config, module)
        again, other_step = batch.draws, Draws(0, step=1, sample_index=batch.draws.sample_index)
        losses = [
            module.loss(dataclasses.replace(batch, draws=draws))["masked_l1"]
            for draws in (again, again, other_step)
        ]
        assert losses[0] == losses[1] != losses[2]

    @pytest.mark.parametrize(
        "words",
        [
            ["mask_layout=released"],
            ["block_patches=1"],
            ["mask_ratio=0.4"],
            ["ball_radius_m=0.15"],
            ["dropout_ratio=0.4"],
            ["dropout_ratio=0.4", "dropout_radius_m=0.15"],
        ],
    )
    def test_every_setting_of_the_masks_arrives(
        self, configure: Configure, words: list[str]
    ) -> None:
        """The last word alone must change what is masked, and with it the error of predicting 0."""
        config = configure(*(f"objective.{word}" for word in words[:-1]))
        module = make_module(config)
        batch = first_batch(config, module)
        changed = make_module(configure(*(f"objective.{word}" for word in words)))
        assert module.loss(batch)["zero_l1"] != changed.loss(batch)["zero_l1"]

    def test_micro_batches_average_to_the_whole_batch(self, configure: Configure) -> None:
        config = configure()
        module = make_module(config)
        batch = first_batch(config, module)
        whole = module.loss(batch)
        halves = [module.loss(part(batch, rows)) for rows in (slice(0, 4), slice(4, 8))]
        for name, value in whole.items():
            mean = (halves[0][name] + halves[1][name]) / 2
            torch.testing.assert_close(mean, value, rtol=1e-6, atol=0)

    def test_encode_gives_a_token_per_patch_and_a_pooled_vector(self, configure: Configure) -> None:
        config = configure()
        module = make_module(config).eval()
        embeddings = module.encode(first_batch(config, module))
        assert embeddings.tokens.shape == (8, TOKENS, config.model.dim)
        assert embeddings.pooled.shape == (8, config.model.dim)


class TestRun:
    def test_the_debug_variant_trains_and_resumes_to_the_bit(self, configure: Configure) -> None:
        words = ("trainer.max_steps=6", "trainer.log_every_steps=3")
        unbroken = fit(configure(*words, "run.name=a"))
        stopped = fit(configure(*words, "run.name=b", "trainer.stop_at_step=3"))
        fit(configure(*words, "run.name=b"))
        rows = [read_rows(run.folder / "metrics.jsonl") for run in (unbroken, stopped)]
        figures: list[list[Any]] = [
            [(row["loss"], row["masked_l1"], row["pooled_l1"]) for row in run] for run in rows
        ]
        assert figures[0] == figures[1]
        assert len(figures[0]) == 6
        assert figures[0][-1][0] < figures[0][0][0]

    def test_recordings_of_six_channels_are_left_out_and_counted(
        self, tmp_path: Path, configure: Configure
    ) -> None:
        few = synthetic_recordings(3, num_val=0, num_test=0, num_channels=6, duration_s=16.0)
        enough = synthetic_recordings(2, num_val=0, num_test=0, num_channels=7, duration_s=16.0)
        write_shard_set(tmp_path / "few", recordings=few, corpus="few")
        write_shard_set(tmp_path / "enough", recordings=enough, corpus="enough")
        config = configure(f"data.shards=[{tmp_path / 'few'}, {tmp_path / 'enough'}]")
        stream = open_stream(config, split="train")
        described = "\n".join(stream.describe())
        stream.close()
        assert len(stream.recordings) == 4
        assert "left out: 6 recordings" in described, described

    def test_the_parts_of_the_recipe_are_importable_by_name(self) -> None:
        module = importlib.import_module("physioscale.recipes.reve.training")
        assert module.RECIPE is load_recipe("reve").parts
