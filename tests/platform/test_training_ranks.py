"""Runs on two ranks of this machine's CPU, each launch a process as a user starts it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from physioscale.errors import InputError
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.testing.training import (
    training_config,
    training_words,
    write_trainable_recipe,
    write_training_shards,
)
from physioscale.tracking import read_rows
from physioscale.training import fit
from physioscale.training.checkpoint import list_checkpoints

TIMEOUT_S = 120
# What lets runs on unlike ranks be compared.
SAME = ("model.dropout=0",)


class Workplace:
    """A recipe, its shards and the runs of this module."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = write_trainable_recipe(root / "recipes")
        self.shards = write_training_shards(root / "shards")
        self.environment = {
            **os.environ,
            ENVIRONMENT_VARIABLE: str(root / "recipes"),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "default",
        }

    def command(self, *words: str) -> list[str]:
        program = [sys.executable, "-m", "physioscale.cli.main", "train", self.recipe]
        return [*program, *training_words(self.root, self.shards, *words)]

    def run(self, name: str, *words: str) -> Path:
        """Launch the run of that name and return its folder."""
        done = subprocess.run(
            self.command(f"run.name={name}", *words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return self.root / "runs" / name

    def run_here(self, name: str, *words: str) -> Path:
        """The same with one rank, in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENVIRONMENT_VARIABLE, str(self.root / "recipes"))
            own = training_words(self.root, self.shards, f"run.name={name}", *words)
            return fit(training_config(self.recipe, own)).folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def one_rank(place: Workplace) -> Path:
    return place.run_here("one", *SAME)


@pytest.fixture(scope="module")
def two_ranks(place: Workplace) -> Path:
    return place.run("two", *SAME, "trainer.devices=2")


@pytest.fixture(scope="module")
def stopped(place: Workplace) -> Path:
    """A run of two ranks that stands at step 5."""
    return place.run("stopped", *SAME, "trainer.devices=2", "trainer.stop_at_step=5")


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_rows(folder / "metrics.jsonl")]


def test_two_ranks_equal_one(one_rank: Path, two_ranks: Path) -> None:
    assert losses(two_ranks)[0] == pytest.approx(losses(one_rank)[0], rel=1e-6)
    assert losses(two_ranks) == pytest.approx(losses(one_rank), rel=1e-4)
    steps = [row["step"] for row in read_rows(two_ranks / "metrics.jsonl")]
    assert steps == list(range(1, 13))


def test_a_run_of_two_ranks_goes_on_with_one(
    place: Workplace, one_rank: Path, stopped: Path
) -> None:
    shutil.copytree(stopped, stopped.with_name("elastic"))
    folder = place.run_here("elastic", *SAME)
    assert [row["attempt"] for row in read_rows(folder / "metrics.jsonl")] == [1] * 5 + [2] * 7
    assert losses(folder) == pytest.approx(losses(one_rank), rel=1e-4)


def test_two_ranks_stop_and_resume_to_the_bit(
    place: Workplace, two_ranks: Path, stopped: Path
) -> None:
    shutil.copytree(stopped, stopped.with_name("resumed"))
    resumed = place.run("resumed", *SAME, "trainer.devices=2")
    assert losses(resumed) == losses(two_ranks)


def test_zero_2_resumes_and_equals_one_rank(place: Workplace, one_rank: Path) -> None:
    words = (*SAME, "trainer.devices=2", "trainer.strategy=zero2")
    place.run("zero2", *words, "trainer.stop_at_step=6")
    check_zero(place.run("zero2", *words), one_rank)
    shutil.rmtree(place.root / "runs" / "zero2" / "checkpoints" / "step-00000012")
    with pytest.raises(InputError, match="written by zero2 on 2 ranks, now zero2 on 1"):
        place.run_here("zero2", *SAME, "trainer.strategy=zero2")


def test_zero_3_equals_one_rank_and_leaves_whole_weights(place: Workplace, one_rank: Path) -> None:
    folder = place.run("zero3", *SAME, "trainer.devices=2", "trainer.strategy=zero3")
    check_zero(folder, one_rank)


def test_zero_under_bf16_leaves_the_float32_weights_of_the_optimizer(place: Workplace) -> None:
    words = (*SAME, "trainer.strategy=zero2", "trainer.precision=bf16-mixed")
    folder = place.run("bf16", *words, "trainer.max_steps=3")
    for tensor in newest_weights(folder).values():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, tensor.bfloat16().float())


def check_zero(folder: Path, one_rank: Path) -> None:
    assert losses(folder)[0] == pytest.approx(losses(one_rank)[0], rel=1e-6)
    assert losses(folder) == pytest.approx(losses(one_rank), rel=1e-4)
    weights, expected = (newest_weights(path) for path in (folder, one_rank))
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-5)


def newest_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(folder / "checkpoints")[-1] / "model.safetensors")


@pytest.fixture
def long_run(place: Workplace) -> Iterator[subprocess.Popen[str]]:
    """Start a run of two ranks that would take minutes, and wait for its first rows."""
    words = ("run.name=long", "trainer.devices=2", "trainer.max_steps=1000000")
    process = subprocess.Popen(
        place.command(*words),
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    rows = place.root / "runs" / "long" / "metrics.jsonl"
    deadline = time.monotonic() + TIMEOUT_S
    while not (rows.is_file() and rows.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=TIMEOUT_S)


def test_a_signal_to_rank_0_ends_both_ranks_at_one_step(
    place: Workplace, long_run: "subprocess.Popen[str]"
) -> None:
    long_run.send_signal(signal.SIGTERM)
    output, _ = long_run.communicate(timeout=TIMEOUT_S)
    assert long_run.returncode == 128 + signal.SIGTERM, output
    folder = place.root / "runs" / "long"
    step = len(losses(folder))
    assert f"SIGTERM: saved after step {step} of 1000000" in output
    assert list_checkpoints(folder / "checkpoints")[-1].name == f"step-{step:08d}"
