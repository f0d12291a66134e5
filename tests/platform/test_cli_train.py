"""`physioscale train`: what it prints, how it ends, and one clear message for each mistake."""

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from physioscale.cli.main import main
from physioscale.cli.train_progress import describe_row
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.testing.training import (
    training_words,
    write_trainable_recipe,
    write_training_shards,
)
from physioscale.training import RunResult
from physioscale.training.checkpoint import list_checkpoints

Train = Callable[..., int]


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
def train(tmp_path: Path, shards: Path, recipe: str) -> Train:
    """Run the command in a run folder named `mine` with these words added."""
    return lambda *words: main(
        ["train", recipe, *training_words(tmp_path, shards, "run.name=mine", *words)]
    )


def test_a_run_says_what_it_reads_does_and_left(
    train: Train, tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    lines = capsys.readouterr().out.splitlines()
    folder = tmp_path / "runs" / "mine"
    assert lines[0] == (
        f"recipe {recipe}, variant debug: 348 parameters, 168 of them in the encoder"
    )
    assert lines[1] == "train: 8 recordings of 4 subjects, 80 windows, 0.04 h"
    assert f"run folder {folder}" in lines
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["4/12", "6/12", "8/12", "12/12"]
    shape = r"step \S+  loss \d\.\d{4}  lr \d\.\d\de-0\d  [\d,.]+ samples/s  [\d,]+ tokens/s  wait "
    assert all(re.match(shape, line) for line in steps)
    assert lines[-2] == f"finished: 12 steps in {folder}"
    assert lines[-1].startswith(f"next: physioscale evaluate {recipe} --checkpoint {folder}")


def test_a_stopped_run_goes_on_with_the_same_line(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("trainer.stop_at_step=5") == 0
    assert "stopped after step 5 of 12" in capsys.readouterr().out
    assert train() == 0
    output = capsys.readouterr().out
    assert "going on from its checkpoint after step 5" in output
    assert "finished: 12 steps" in output


def test_a_finished_run_says_so(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    capsys.readouterr()
    assert train() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["finished", "next"]


@pytest.mark.parametrize(("rank", "status"), [(0, 143), (1, 0)])
def test_the_status_of_a_signal_is_that_of_rank_0(
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: int,
    status: int,
) -> None:
    """Another rank's status other than 0 would make the launcher kill the rest."""
    result = RunResult(Path("runs/x"), 7, max_steps=12, rank=rank, signum=signal.SIGTERM)
    monkeypatch.setattr("physioscale.training.fit", lambda *_, **__: result)
    assert train() == status
    output = capsys.readouterr().out
    assert ("SIGTERM: saved after step 7 of 12" in output) == (rank == 0)


def test_failures_of_tracking_are_told(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = RunResult(Path("runs/x"), 12, max_steps=12, rank=0, tracking_failures=3)
    monkeypatch.setattr("physioscale.training.fit", lambda *_, **__: result)
    assert train() == 0
    assert (
        "calls of tracking that failed: 3; runs/x/metrics.jsonl is complete"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.shards=[]"], "data.shards: no shard set; expected one or more folders"),
        (["data.shards=nowhere"], "nowhere: no such folder"),
        (["variant=debugg"], "unknown variant 'debugg'"),
        (["stage=pretrian"], "unknown stage 'pretrian'"),
        (["trainer.max_step=3"], "trainer.max_step"),
        (["optimizer.name=adam"], "optimizer.name: 'adam'"),
        (["data.window_s=30"], "windows of 30 s, but the longest of 8 recordings is 20 s"),
        (["data.batch_samples=96"], "at most 80 windows"),
        (["trainer.devices=3"], "data.divisible_by"),
        (["data.micro_batch=5"], "data.micro_batch"),
        (["accepts.channel_types=[mag]"], "channels of type eeg"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: Sequence[str],
    message: str,
) -> None:
    assert train(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not (tmp_path / "runs").exists()


def test_an_unknown_recipe_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "reveee"]) == 2
    assert "unknown recipe 'reveee'; did you mean 'reve'?" in capsys.readouterr().err


def test_a_refused_launch_harms_nothing_that_is_there(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("trainer.stop_at_step=5") == 0
    folder = tmp_path / "runs" / "mine"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train("seed=3") == 2
    assert "seed (there 0, now 3)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert len(list_checkpoints(folder / "checkpoints")) == 1


def test_a_row_is_described_for_a_person() -> None:
    row = {
        "loss": 0.98577,
        "lr": 1e-3,
        "samples_per_s": 1234.56,
        "tokens_per_s": 32593.4,
        "loader_wait_share": 0.0123,
    }
    assert describe_row(row) == (
        "loss 0.9858  lr 1.00e-03  1,234.6 samples/s  32,593 tokens/s  wait 1.2 %"
    )


def test_a_terminal_gets_a_bar_over_the_whole_run(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    assert train() == 0
    output = capsys.readouterr().out
    assert "12/12" in output
    assert "samples/s" in output
    assert "step 4/12" not in output
    monkeypatch.setenv("TERM", "dumb")
    assert train("run.name=dumb") == 0
    assert "step 4/12  loss" in capsys.readouterr().out
