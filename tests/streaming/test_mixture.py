"""Mixtures: shard sets with weights, by permutation, evenly spread, exact over stops and ranks."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.streaming import Stream, open_stream
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

Config = Callable[..., RunConfig]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Return a shard set of 120 windows in eight shards and one of 30 in two."""
    large = [SyntheticRecording(f"l{n}", num_channels=2, run_s=(60.0,)) for n in range(8)]
    small = [SyntheticRecording(f"s{n}", num_channels=2, run_s=(60.0,)) for n in range(2)]
    return [
        write_shard_set(
            tmp_path / name, recordings=recordings, segments_per_shard=1, corpus=name
        ).path
        for name, recordings in (("large", large), ("small", small))
    ]


def set_of_window(stream: Stream) -> np.ndarray:
    """Return the number of the shard set of each window."""
    table = stream.table
    rows = table.run_recording[table.runs_of(np.arange(table.num_windows))]
    return np.array([stream.recordings[row].shard_set for row in rows.tolist()])


def test_weights_decide_how_often_an_epoch_takes_each_window(
    folders: list[Path], make_config: Config
) -> None:
    data = {"weights": [0.5, 2.5], "pool_shards": 3}
    stream = open_stream(make_config(*folders, data=data), split="train")
    plan, of_set = stream.plan, set_of_window(stream)
    assert plan.epoch_windows == (60 + 75,)
    totals = Counter[int]()
    for epoch in range(8):
        shares = plan.shares(epoch)
        assert [share.taken for share in shares] == [60, 75]
        assert shares[0].unseen == 60
        assert shares[0].repeated == 0
        assert shares[1].unseen == 0
        assert shares[1].repeated == 45
        for pool in range(plan.num_pools):
            totals.update(plan.pool_windows(0, epoch=epoch, pool=pool).tolist())
    counts = {
        number: {totals[int(w)] for w in np.flatnonzero(of_set == number)} for number in (0, 1)
    }
    # Eight epochs are four passes over the one set and twenty over the other.
    assert counts == {0: {4}, 1: {20}}


def test_every_pool_holds_an_even_share_of_every_set(
    folders: list[Path], make_config: Config
) -> None:
    data = {"weights": [1.0, 2.0], "pool_shards": 2}
    stream = open_stream(make_config(*folders, data=data), split="train")
    of_set = set_of_window(stream)
    assert stream.plan.num_pools == 5
    for pool in range(5):
        windows = stream.plan.pool_windows(0, epoch=3, pool=pool)
        assert np.bincount(of_set[windows]).tolist() == [24, 12]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")]])
def test_weights_that_do_not_fit_are_refused(
    folders: list[Path], make_config: Config, weights: list[float]
) -> None:
    stream = open_stream(make_config(*folders, data={"weights": weights}), split="train")
    with pytest.raises(InputError, match=r"data.weights: .* for each of the 2 shard sets"):
        _ = stream.plan


def test_weights_are_part_of_the_plan(folders: list[Path], make_config: Config) -> None:
    def plan_hash(weights: list[float] | None) -> str:
        config = make_config(*folders, data={"weights": weights})
        return open_stream(config, split="train").plan_hash

    assert plan_hash(None) == plan_hash([1.0, 1.0])
    assert plan_hash(None) != plan_hash([1.0, 1.5])
