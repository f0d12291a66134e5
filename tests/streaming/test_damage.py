"""Damage is named: shard, recording and offset in the message, before anything is trained on it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from physioscale.config import RunConfig
from physioscale.contract import INDEX_FILE, INDEX_SCHEMA, read_table
from physioscale.errors import InputError, MissingInputError
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


@pytest.mark.parametrize("position", [0, 1, 9999, 10000, 16384, 19999])
def test_a_flipped_payload_byte_is_named(folder: Path, make_config: Config, position: int) -> None:
    assert read_everything(make_config(folder)) == 5
    row = read_table(folder / INDEX_FILE, schema=INDEX_SCHEMA).to_pylist()[1]
    shard = folder / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["signal_offset"] + position] ^= 0x10
    shard.chmod(0o644)
    shard.write_bytes(data)
    block = row["signal_offset"] + position // 16384 * 16384
    expected = rf"set/train-000000.tar, byte {block}, recording 'a_eyesopen', segment 1: a block"
    with pytest.raises(DamagedShardError, match=expected):
        read_everything(make_config(folder))


def test_a_truncated_shard_is_named(folder: Path, make_config: Config) -> None:
    shard = folder / "train-000000.tar"
    row = read_table(folder / INDEX_FILE, schema=INDEX_SCHEMA).to_pylist()[1]
    shard.write_bytes(shard.read_bytes()[: row["signal_offset"] + 100])
    with pytest.raises(DamagedShardError, match=r"recording 'a_eyesopen', segment 1: 100 bytes"):
        read_everything(make_config(folder))


def test_a_missing_shard_is_named(folder: Path, make_config: Config) -> None:
    (folder / "train-000000.tar").unlink()
    with pytest.raises(MissingInputError, match=r"set/train-000000.tar: no such shard"):
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
