"""REVE's debug variant on real recordings: it learns, and a stopped run goes on to the bit."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from physioscale.cli.main import main
from physioscale.tracking import Row, read_rows

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(1200)]

STEPS = 300
STOP = 150


@pytest.fixture(scope="module")
def shards(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert eegmat with the default profile, all subjects for training."""
    folder = tmp_path_factory.mktemp("eegmat") / "shards"
    words = ["--corpus", "eegmat", "--split", "val=0,test=0", "--workers", "2"]
    assert main(["shard", str(realdata / "eeg" / "eegmat"), "--out", str(folder), *words]) == 0
    assert main(["verify", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    """Bits depend on the number of threads, so it is fixed for both runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unbroken(shards: Path, two_threads: None) -> list[Row]:
    return train(shards, "unbroken")


def train(shards: Path, name: str, *words: str) -> list[Row]:
    """Launch a run of the debug variant and return the rows it has by now."""
    root = shards.parent / "runs"
    settings = [f"data.shards={shards}", f"run.root={root}", f"run.name={name}", *words]
    assert main(["train", "reve", "variant=debug", "trainer.accelerator=cpu", *settings]) == 0
    return read_rows(root / name / "metrics.jsonl")


def mean_of(rows: list[Row], metric: str) -> float:
    return statistics.fmean(float(row[metric]) for row in rows)


def test_300_steps_predict_masked_eeg_better_than_zero(unbroken: list[Row]) -> None:
    assert [row["step"] for row in unbroken] == list(range(1, STEPS + 1))
    early = mean_of(unbroken[4:15], "masked_l1")
    late = mean_of(unbroken[-20:], "masked_l1")
    zero = mean_of(unbroken[-20:], "zero_l1")
    assert late <= 0.85 * early, f"{late:.4f} after {early:.4f}"
    assert late < zero, f"{late:.4f}; predicting zero has {zero:.4f}"


def test_stopping_at_step_150_changes_no_bit(
    shards: Path, unbroken: list[Row], two_threads: None
) -> None:
    stopped = train(shards, "stopped", f"trainer.stop_at_step={STOP}")
    assert len(stopped) == STOP
    resumed = train(shards, "stopped")
    assert [row["attempt"] for row in resumed] == [1] * STOP + [2] * (STEPS - STOP)
    for metric in ("loss", "masked_l1", "pooled_l1", "zero_l1", "lr"):
        assert [row[metric] for row in resumed] == [row[metric] for row in unbroken]
