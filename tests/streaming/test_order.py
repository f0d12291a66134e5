"""The order of global batches: passes, shapes and layouts; R1 to R7 are with the promises."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.streaming import open_stream
from physioscale.streaming.permutation import permute
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

Config = Callable[..., RunConfig]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a shard set with two window shapes in seven shards."""
    recordings = [
        SyntheticRecording(f"s{number}", num_channels=3 + 2 * (number % 2), run_s=(41.0,))
        for number in range(10)
    ]
    return write_shard_set(tmp_path / "set", recordings=recordings, segment_s=20.0).path


def test_micro_batches_of_one_rank_are_those_of_two(folder: Path, make_config: Config) -> None:
    def micro_batches(rank: int, world_size: int) -> list[list[int]]:
        config = make_config(folder, data={"micro_batch": 4})
        stream = open_stream(config, split="train", rank=rank, world_size=world_size)
        loader = stream.train_loader(first_step=0, last_step=4)
        return [batch.window_ids.tolist() for batch in loader]

    alone = micro_batches(0, 1)
    assert len(alone) == 8
    assert alone[0::2] == micro_batches(0, 2)
    assert alone[1::2] == micro_batches(1, 2)


def test_every_window_comes_once_per_pass_and_none_is_left_out_for_good(
    folder: Path, make_config: Config
) -> None:
    stream = open_stream(make_config(folder), split="train")
    plan = stream.plan
    # 100 windows in two shapes of 50, batches of 8: no epoch is a whole number of batches.
    assert plan.epoch_windows == (50, 50)
    assert [plan.first_step(epoch) for epoch in range(5)] == [0, 12, 24, 36, 50]
    taken = Counter[int]()
    for step in range(plan.first_step(4)):
        taken.update(plan.step(step).windows.tolist())
    # Four epochs are 25 batches of 8 in each shape: exactly four passes over 50 windows.
    assert set(taken.values()) == {4}
    assert len(taken) == stream.num_windows
    for epoch in range(4):
        share = plan.shares(epoch)[0]
        assert (share.available, share.taken, share.unseen, share.repeated) == (100, 100, 0, 0)


def test_a_shape_with_fewer_windows_than_a_batch_comes_every_few_epochs(
    tmp_path: Path, make_config: Config
) -> None:
    recordings = [
        SyntheticRecording("many", num_channels=4, run_s=(160.0,)),
        SyntheticRecording("few", num_channels=2, run_s=(12.0,)),
    ]
    folder = write_shard_set(tmp_path / "set", recordings=recordings).path
    plan = open_stream(make_config(folder), split="train").plan
    rare = next(b for b, shape in enumerate(plan.table.buckets) if shape.num_channels == 2)
    assert plan.epoch_windows[rare] == 3
    steps = [plan.step(step) for step in range(plan.first_step(8))]
    batches = [step.windows.tolist() for step in steps if step.bucket == rare]
    assert len(batches) == 3
    assert set(Counter(window for batch in batches for window in batch).values()) == {8}


def test_batches_never_mix_shapes_and_buckets_are_interleaved(
    folder: Path, make_config: Config
) -> None:
    stream = open_stream(make_config(folder), split="train")
    plan = stream.plan
    shapes = [plan.step(step).bucket for step in range(plan.first_step(1))]
    assert set(shapes) == {0, 1}
    for step in range(plan.first_step(1)):
        planned = plan.step(step)
        runs = stream.table.runs_of(planned.windows)
        assert set(stream.table.run_bucket[runs].tolist()) == {planned.bucket}


def test_seed_and_epoch_change_the_order_and_the_hash_covers_what_matters(
    folder: Path, make_config: Config
) -> None:
    def first_batch(**changes: object) -> tuple[str, list[int]]:
        stream = open_stream(make_config(folder, **changes), split="train")
        return stream.plan_hash, stream.plan.step(0).windows.tolist()

    base = first_batch()
    assert first_batch() == base
    for changes in (
        {"seed": 1},
        {"data": {"pool_shards": 1}},
        {"data": {"batch_samples": 16}},
        {"data": {"stride_s": 2.0}},
    ):
        assert first_batch(**changes)[0] != base[0]
        assert first_batch(**changes)[1] != base[1]
    for changes in ({"data": {"reader_threads": 7}}, {"data": {"micro_batch": 2}}):
        assert first_batch(**changes) == base


def test_state_is_four_numbers(folder: Path, make_config: Config) -> None:
    stream = open_stream(make_config(folder, seed=5), split="train")
    step = stream.plan.first_step(1) + 1
    assert stream.state(step) == {
        "plan_hash": stream.plan_hash,
        "seed": 5,
        "epoch": 1,
        "step": step,
    }


def test_a_batch_in_tokens_gives_each_shape_its_own_size(folder: Path, make_config: Config) -> None:
    data = {"batch_samples": None, "batch_tokens": 130, "divisible_by": 2}
    stream = open_stream(
        make_config(folder, data=data),
        split="train",
        tokens_per_window=lambda channels: 4 * channels,
    )
    sizes = dict(
        zip(
            (bucket.num_channels for bucket in stream.table.buckets),
            stream.plan.batch_of_bucket,
            strict=True,
        )
    )
    assert sizes == {3: 10, 5: 6}


@pytest.mark.parametrize("world_size", [3, 16])
def test_ranks_that_do_not_divide_the_batch_are_refused(
    folder: Path, make_config: Config, world_size: int
) -> None:
    stream = open_stream(make_config(folder), split="train", rank=0, world_size=world_size)
    with pytest.raises(InputError, match=rf"batch of 8 windows for {world_size} ranks"):
        stream.train_loader(first_step=0, last_step=1)


def test_a_batch_larger_than_the_data_is_refused(folder: Path, make_config: Config) -> None:
    stream = open_stream(make_config(folder, data={"batch_samples": 4096}), split="train")
    with pytest.raises(InputError, match="a global batch of 4096 windows"):
        _ = stream.plan


def test_a_batch_that_is_no_multiple_is_refused(folder: Path, make_config: Config) -> None:
    stream = open_stream(make_config(folder, data={"batch_samples": 12}), split="train")
    with pytest.raises(InputError, match=r"12; expected a multiple of data.divisible_by = 8"):
        _ = stream.plan


@pytest.mark.parametrize("world_size", [1, 3])
def test_the_ordered_loader_gives_every_window_once_over_all_ranks(
    folder: Path, make_config: Config, world_size: int
) -> None:
    seen: list[int] = []
    for rank in range(world_size):
        stream = open_stream(make_config(folder), split="train", rank=rank, world_size=world_size)
        loader = stream.ordered_loader(batch=7)
        batches = [batch.window_ids.tolist() for batch in loader]
        assert len(batches) == len(loader)
        seen += [window for batch in batches for window in batch]
    assert sorted(seen) == list(range(stream.num_windows))


def test_permute_is_a_permutation_keyed_by_seed_and_purpose() -> None:
    values = np.arange(1000, dtype=np.int64) * 7
    first = permute(values, seed=3, purpose="a")
    assert sorted(first.tolist()) == values.tolist()
    assert first.tolist() == permute(values[::-1], seed=3, purpose="a").tolist()
    assert first.tolist() != permute(values, seed=4, purpose="a").tolist()
    assert first.tolist() != permute(values, seed=3, purpose="b").tolist()
    # A uniform permutation moves elements by a third of the length on average.
    moved = np.abs(np.argsort(first) - np.arange(1000)).mean()
    assert 280 < moved < 390
