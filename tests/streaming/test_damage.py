"""Damage is named: shard, recording and offset in the message, before anything is trained on it."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from physioscale.config import RunConfig
from physioscale.contract import INDEX_FILE, INDEX_SCHEMA, read_table
from physioscale.errors import InputError
from physioscale.streaming import DamagedShardError, open_stream
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

Config = Callable[..., RunConfig]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a small shard set of one shard."""
    recordings = [SyntheticRecording("a", run_s=(20.0,), num_channels=4)]
    return write_shard_set(tmp_path / "set", recordings=recordings, segment_s=10.0).path


def read_everything(config: RunConfig) -> int:
    """Read all windows and return how many there were."""
    return sum(len(batch) for batch in open_stream(config, split="train").ordered_loader(batch=4))


def test_a_truncated_shard_is_named(folder: Path, make_config: Config) -> None:
    shard = folder / "train-000000.tar"
    row = read_table(folder / INDEX_FILE, schema=INDEX_SCHEMA).to_pylist()[1]
    shard.write_bytes(shard.read_bytes()[: row["signal_offset"] + 100])
    with pytest.raises(DamagedShardError, match=r"recording 'a_eyesopen', segment 1: 100 bytes"):
        read_everything(make_config(folder))


def test_a_missing_shard_is_named(folder: Path, make_config: Config) -> None:
    (folder / "train-000000.tar").unlink()
    with pytest.raises(DamagedShardError, match=r"set/train-000000.tar: no such shard"):
        read_everything(make_config(folder))


def test_a_shard_that_cannot_be_opened_is_named(folder: Path, make_config: Config) -> None:
    shard = folder / "train-000000.tar"
    shard.unlink()
    shard.symlink_to(shard.name)  # a loop: refused for root as well, whom permissions do not stop
    with pytest.raises(DamagedShardError, match=r"set/train-000000.tar: it cannot be opened \(Too"):
        read_everything(make_config(folder))


def test_a_shard_that_the_disk_does_not_give_is_named(folder: Path, make_config: Config) -> None:
    shard = folder / "train-000000.tar"
    shard.unlink()
    shard.mkdir()  # can be opened, not read
    with pytest.raises(
        DamagedShardError, match=r"byte \d+, recording 'a_eyesopen', segment 0: it cannot be read"
    ):
        read_everything(make_config(folder))


def test_a_replaced_index_is_named(folder: Path, make_config: Config) -> None:
    table = read_table(folder / INDEX_FILE, schema=INDEX_SCHEMA)
    pq.write_table(table.slice(0, 1), folder / INDEX_FILE)
    with pytest.raises(InputError, match=r"set/index.parquet: another content than dataset.json"):
        read_everything(make_config(folder))


def test_a_cache_folder_that_cannot_be_written_says_what_to_set(
    folder: Path, make_config: Config, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(InputError, match=r"Set data.cache_dir"):
        read_everything(make_config(folder, data={"cache_dir": str(blocked)}))


def test_a_budget_replaces_damaged_windows_and_changes_nothing_else(
    tmp_path: Path, make_config: Config
) -> None:
    recordings = [SyntheticRecording(f"r{n}", run_s=(40.0,), num_channels=4) for n in range(4)]
    folder = write_shard_set(
        tmp_path / "set", recordings=recordings, segment_s=4.0, segments_per_shard=10
    ).path

    def run(budget: int) -> tuple[list[list[int]], list[float], dict[int, str]]:
        config = make_config(folder, data={"damage_budget": budget})
        stream = open_stream(config, split="train")
        loader = stream.train_loader(first_step=0, last_step=5)
        batches = [(b.window_ids.tolist(), b.signal.sum(dim=(1, 2)).tolist()) for b in loader]
        return (
            [ids for ids, _ in batches],
            [value for _, values in batches for value in values],
            loader.damaged,
        )

    ids, sums, damaged = run(0)
    assert not damaged
    row = read_table(folder / INDEX_FILE, schema=INDEX_SCHEMA).to_pylist()[3]
    shard = folder / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["signal_offset"] + 17] ^= 1
    shard.write_bytes(data)
    ids_again, sums_again, damaged = run(2)
    assert len(damaged) == 1
    assert "segment 3: a block of 16384 bytes" in next(iter(damaged.values()))
    lost = next(iter(damaged))
    flat, flat_again = list(chain(*ids)), list(chain(*ids_again))
    assert flat.count(lost) == 1
    for place, window in enumerate(flat):
        if window != lost:
            assert flat_again[place] == window
            assert sums_again[place] == sums[place]
        else:
            spare = flat_again[place]
            assert spare in ids[place // 8]
            assert sums_again[place] == sums[flat.index(spare)]


def test_a_spent_budget_names_the_window_that_spent_it(tmp_path: Path, make_config: Config) -> None:
    recordings = [SyntheticRecording("r", run_s=(64.0,), num_channels=4)]
    folder = write_shard_set(tmp_path / "set", recordings=recordings, segment_s=4.0).path
    (folder / "train-000001.tar").unlink()
    config = make_config(folder, data={"damage_budget": 3})
    with pytest.raises(DamagedShardError, match=r"train-000001.tar: no such shard"):
        list(open_stream(config, split="train").train_loader(first_step=0, last_step=2))
