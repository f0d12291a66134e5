"""A run in one process: resume, refusals, accumulation, signals, rows; ranks are tested apart."""

import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from physioscale.config import RunConfig
from physioscale.contract import open_shard_set
from physioscale.errors import InputError
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.recipes.loader import load_recipe
from physioscale.testing.training import (
    training_config,
    training_words,
    write_trainable_recipe,
    write_training_shards,
)
from physioscale.tracking import Launch, Row, read_rows
from physioscale.training import fit
from physioscale.training.checkpoint import list_checkpoints
from physioscale.training.run_folder import RunFolder, read_facts

Configure = Callable[..., RunConfig]
STEPS = 12


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_shards(tmp_path_factory.mktemp("shards") / "set")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT_VARIABLE, str(root))
        yield write_trainable_recipe(root)


@pytest.fixture
def configure(tmp_path: Path, shards: Path, recipe: str) -> Configure:
    """Return a builder of configurations: `configure("seed=1", ...)`."""
    return lambda *words: training_config(recipe, training_words(tmp_path, shards, *words))


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_rows(RunFolder(folder).metrics)]


def checkpoint_names(folder: Path) -> list[str]:
    return [path.name for path in list_checkpoints(RunFolder(folder).checkpoints)]


class TestRows:
    def test_every_step_has_a_row(self, configure: Configure) -> None:
        result = fit(configure("trainer.max_steps=11"))
        rows = read_rows(RunFolder(result.folder).metrics)
        assert [row["step"] for row in rows] == list(range(1, 12))
        # 80 windows in batches of 16.
        assert [row["epoch"] for row in rows] == [0] * 5 + [1] * 5 + [2]
        assert {row["attempt"] for row in rows} == {1}
        assert result.finished
        assert (result.step, result.signum, result.tracking_failures) == (11, 0, 0)

    def test_the_learning_rate_is_that_of_the_step(self, configure: Configure) -> None:
        words = ("schedule.warmup_share=0.5", "schedule.cooldown_share=0.25")
        result = fit(configure(*words, "schedule.start_lr=0.001", "schedule.final_lr=0"))
        rates = [row["lr"] for row in read_rows(RunFolder(result.folder).metrics)]
        rise = [0.001 + (0.01 - 0.001) * step / 6 for step in range(6)]
        assert rates == pytest.approx([*rise, 0.01, 0.01, 0.01, 0.01, 0.01 * 2 / 3, 0.01 / 3])

    def test_bf16_mixed_computes_in_bfloat16_and_keeps_float32(self, configure: Configure) -> None:
        words = ("model.dropout=0", "trainer.max_steps=3")
        exact = fit(configure(*words, "run.name=exact"))
        mixed = fit(configure(*words, "run.name=mixed", "trainer.precision=bf16-mixed"))
        assert losses(mixed.folder) == pytest.approx(losses(exact.folder), rel=1e-2)
        assert losses(mixed.folder) != pytest.approx(losses(exact.folder), rel=1e-6)
        (folder,) = list_checkpoints(RunFolder(mixed.folder).checkpoints)
        weights = load_file(folder / "model.safetensors").values()
        assert {tensor.dtype for tensor in weights} == {torch.float32}

    def test_the_update_is_taken_with_that_rate(self, configure: Configure) -> None:
        """The first rate is 0 here, so one step must leave the initialisation as it was."""
        words = ("trainer.max_steps=4", "schedule.warmup_share=0.5", "schedule.start_lr=0")
        result = fit(configure(*words, "trainer.stop_at_step=1", "run.name=x"))
        folder = RunFolder(result.folder).checkpoints
        first = load_file(folder / "step-00000001" / "model.safetensors")
        fit(configure(*words, "trainer.stop_at_step=2", "run.name=x"))
        second = load_file(folder / "step-00000002" / "model.safetensors")
        torch.manual_seed(0)
        parts = load_recipe(configure().recipe).parts
        initial = parts.build_model(configure().model).state_dict()
        for name, tensor in initial.items():
            torch.testing.assert_close(first[f"model.{name}"], tensor, rtol=0, atol=0)
            assert not torch.equal(second[f"model.{name}"], tensor)

    def test_rows_are_written_together_with_their_throughput(self, configure: Configure) -> None:
        result = fit(configure())
        rows = read_rows(RunFolder(result.folder).metrics)
        # Every 4 steps, and before the checkpoint after step 6.
        timed = [row["step"] for row in rows if "samples_per_s" in row]
        assert timed == [4, 6, 8, 12]
        for row in rows:
            if row["step"] in timed:
                # 4 channels x 10 patches are 40 tokens.
                assert row["tokens_per_s"] == pytest.approx(40 * row["samples_per_s"])
                assert row["step_time_s"] == pytest.approx(16 / row["samples_per_s"])
                assert 0 <= row["loader_wait_share"] <= 1
                assert row["peak_memory_mib"] > 10

    def test_the_loss_falls(self, configure: Configure) -> None:
        values = losses(fit(configure("trainer.max_steps=60", "model.dropout=0")).folder)
        assert sum(values[-5:]) < 0.8 * sum(values[:5])


class TestResume:
    def test_a_stopped_run_continues_as_if_unbroken(self, configure: Configure) -> None:
        unbroken = fit(configure("run.name=unbroken"))
        first = fit(configure("run.name=stopped", "trainer.stop_at_step=5"))
        assert (first.step, first.finished) == (5, False)
        assert checkpoint_names(first.folder) == ["step-00000005"]
        second = fit(configure("run.name=stopped"))
        assert (second.step, second.finished) == (STEPS, True)
        assert losses(second.folder) == losses(unbroken.folder)
        rows = read_rows(RunFolder(second.folder).metrics)
        assert [row["attempt"] for row in rows] == [1] * 5 + [2] * 7
        launches = read_facts(RunFolder(second.folder))["launches"]
        assert [launch["first_step"] for launch in launches] == [0, 5]

    def test_steps_after_the_last_checkpoint_are_taken_again(self, configure: Configure) -> None:
        """As after SIGKILL: the rows are there, the checkpoint of the end is not."""
        config = configure("run.name=killed")
        result = fit(config)
        before = losses(result.folder)
        shutil.rmtree(RunFolder(result.folder).checkpoints / "step-00000012")
        fit(config)
        assert losses(result.folder) == before
        rows = read_rows(RunFolder(result.folder).metrics)
        assert [row["attempt"] for row in rows] == [1] * 6 + [2] * 6
        lines = RunFolder(result.folder).metrics.read_text().splitlines()
        assert len(lines) == STEPS + 6

    def test_the_layout_of_micro_batches_may_change(self, configure: Configure) -> None:
        whole = fit(configure("run.name=whole", "model.dropout=0"))
        words = ("run.name=parts", "model.dropout=0")
        fit(configure(*words, "trainer.stop_at_step=5", "data.micro_batch=4"))
        parts = fit(configure(*words, "data.micro_batch=8"))
        assert losses(parts.folder) == pytest.approx(losses(whole.folder), rel=1e-5)
        assert losses(parts.folder)[0] == pytest.approx(losses(whole.folder)[0], rel=1e-6)

    def test_a_finished_run_stays_as_it_is(self, configure: Configure) -> None:
        config = configure()
        result = fit(config)
        before = RunFolder(result.folder).metrics.read_bytes()
        said: list[str] = []
        again = fit(config, announce=said.extend)
        assert (again.step, again.finished, said) == (STEPS, True, [])
        assert RunFolder(result.folder).metrics.read_bytes() == before

    def test_the_run_says_what_it_does(self, configure: Configure) -> None:
        said: list[str] = []
        fit(configure("run.name=x", "trainer.stop_at_step=5"), announce=said.extend)
        assert any(line.startswith("train: 8 recordings of 4 subjects, 80 wind") for line in said)
        assert "steps 1 to 5 of 12" in said
        said.clear()
        fit(configure("run.name=x"), announce=said.extend)
        assert "going on from its checkpoint after step 5" in said

    def test_a_damaged_checkpoint_is_refused_and_can_be_removed(self, configure: Configure) -> None:
        config = configure()
        result = fit(config)
        newest = RunFolder(result.folder).checkpoints / "step-00000012"
        weights = newest / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        with pytest.raises(InputError, match=r"model\.safetensors: a content that was changed"):
            fit(config)
        shutil.rmtree(newest)
        assert fit(config).finished

    def test_another_configuration_is_refused(self, configure: Configure) -> None:
        fit(configure("run.name=mine", "trainer.stop_at_step=2"))
        with pytest.raises(InputError, match=r"optimizer\.lr \(there 0\.01, now 0\.5\)"):
            fit(configure("run.name=mine", "optimizer.lr=0.5"))

    def test_other_shards_at_the_same_place_are_refused(
        self, configure: Configure, tmp_path: Path
    ) -> None:
        place = write_training_shards(tmp_path / "set")
        words = (f"data.shards={place}", "run.name=mine")
        fit(configure(*words, "trainer.stop_at_step=2"))
        before = open_shard_set(place).info.checksum
        shutil.rmtree(place)
        write_training_shards(place, num_channels=5)
        assert open_shard_set(place).info.checksum != before
        with pytest.raises(InputError, match="but these shards give plan"):
            fit(configure(*words))

    def test_seeds_differ_and_repeat(self, configure: Configure) -> None:
        words = ("trainer.stop_at_step=2",)
        runs = {
            name: losses(fit(configure(*words, f"run.name={name}", f"seed={seed}")).folder)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        }
        assert runs["a"] == runs["b"]
        assert runs["a"] != runs["c"]


class TestCheckpoints:
    def test_cadence_and_retention(self, configure: Configure) -> None:
        words = ("trainer.checkpoint_every_steps=2", "trainer.keep_checkpoints=2")
        result = fit(configure(*words, "trainer.max_steps=7"))
        assert checkpoint_names(result.folder) == ["step-00000006", "step-00000007"]

    def test_a_checkpoint_is_readable_without_pickle(self, configure: Configure) -> None:
        result = fit(configure("trainer.max_steps=2"))
        (folder,) = list_checkpoints(RunFolder(result.folder).checkpoints)
        tensors = load_file(folder / "model.safetensors")
        assert set(tensors) == {
            f"model.{layer}.{kind}"
            for layer in ("encoder", "decoder")
            for kind in ("weight", "bias")
        }
        state = torch.load(folder / "optimizer.pt", weights_only=True)
        assert {float(moments["step"]) for moments in state["state"].values()} == {2.0}

    def test_torch_keeps_its_setting_for_deterministic_algorithms(
        self, configure: Configure
    ) -> None:
        assert not torch.are_deterministic_algorithms_enabled()
        fit(configure("trainer.max_steps=2"))
        assert not torch.are_deterministic_algorithms_enabled()


class TestDamage:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Path:
        """Return a shard set with one flipped byte in one window."""
        place = write_training_shards(tmp_path / "damaged")
        row = open_shard_set(place).index.to_pylist()[0]
        shard = place / row["shard"]
        data = bytearray(shard.read_bytes())
        data[row["signal_offset"]] ^= 1
        shard.chmod(0o644)
        shard.write_bytes(data)
        return place

    def test_a_damaged_window_ends_the_run_with_its_name(
        self, configure: Configure, damaged: Path
    ) -> None:
        with pytest.raises(InputError, match=r"damaged/train-000000\.tar, byte \d+, recording"):
            fit(configure(f"data.shards={damaged}"))

    def test_within_the_budget_it_is_replaced_counted_and_named(
        self, configure: Configure, damaged: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        # The first block of 16 KiB holds all 5 windows of the segment.
        result = fit(configure(f"data.shards={damaged}", "data.damage_budget=5"))
        assert result.finished
        last = read_rows(RunFolder(result.folder).metrics)[-1]
        assert last["damaged_windows"] == 5
        assert caplog.text.count("rank 0 replaced a window: damaged/train-000000.tar, byte") == 5

    def test_sound_shards_count_none(self, configure: Configure) -> None:
        result = fit(configure("trainer.max_steps=2"))
        assert read_rows(RunFolder(result.folder).metrics)[-1]["damaged_windows"] == 0


class Recorder:
    """A view that keeps rows and may do something at a step."""

    def __init__(self, act: Callable[[Row], None] = lambda row: None) -> None:
        self.rows: list[Row] = []
        self.launch: Launch | None = None
        self.closed = False
        self._act = act

    def __call__(self, launch: Launch) -> "Recorder":
        self.launch = launch
        return self

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.rows.append(row)
            self._act(row)

    def close(self) -> None:
        self.closed = True


class TestSignals:
    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_the_launch_after_a_checkpoint(
        self, configure: Configure, signum: signal.Signals
    ) -> None:
        handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]

        def send(row: Row) -> None:
            if row["step"] == 4:
                os.kill(os.getpid(), signum)

        unbroken = fit(configure("run.name=unbroken"))
        result = fit(configure("run.name=x"), views=[Recorder(send)])
        # Rows of step 4 are shown after that step's boundary has looked at the signal.
        assert (result.step, result.signum, result.finished) == (5, signum, False)
        assert checkpoint_names(result.folder) == ["step-00000005"]
        assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers
        fit(configure("run.name=x"))
        assert losses(result.folder) == losses(unbroken.folder)

    def test_a_signal_at_the_last_step_leaves_a_finished_run(self, configure: Configure) -> None:
        def send(row: Row) -> None:
            if row["step"] == STEPS - 1:
                os.kill(os.getpid(), signal.SIGTERM)

        result = fit(configure("trainer.log_every_steps=1"), views=[Recorder(send)])
        assert (result.step, result.signum, result.finished) == (STEPS, 0, True)

    def test_the_signals_are_given_back_after_an_error(
        self, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
        monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(configure())
        assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers


class TestViews:
    def test_views_see_the_rows_of_the_file(self, configure: Configure) -> None:
        view = Recorder()
        result = fit(configure("trainer.stop_at_step=7"), views=[view])
        assert view.rows == read_rows(RunFolder(result.folder).metrics)
        assert view.closed
        assert view.launch is not None
        assert (view.launch.attempt, view.launch.first_step, view.launch.last_step) == (1, 0, 7)

    def test_a_failing_view_stops_nothing(
        self, configure: Configure, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(row: Row) -> None:
            raise OSError("server on fire")

        good = Recorder()
        with caplog.at_level(logging.WARNING):
            result = fit(configure(), views=[Recorder(fail), good])
        assert result.finished
        assert result.tracking_failures == 4
        assert [row["step"] for row in good.rows] == list(range(1, STEPS + 1))
        assert caplog.text.count("server on fire") == 1
