"""The compact index: small, built once, the same for all processes."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from physioscale.config import RunConfig
from physioscale.contract import open_shard_set
from physioscale.streaming import compact as compact_module
from physioscale.streaming import open_stream
from physioscale.streaming.compact import SEGMENT_DTYPE, open_compact
from physioscale.testing.shards import write_shard_set

Config = Callable[..., RunConfig]


def test_a_segment_takes_at_most_40_bytes() -> None:
    assert SEGMENT_DTYPE.itemsize <= 40


def test_it_holds_what_the_portable_index_holds(tmp_path: Path) -> None:
    truth = write_shard_set(tmp_path / "set", segment_s=11.0)
    shard_set = open_shard_set(truth.path)
    compact = open_compact(shard_set, cache_dir=tmp_path / "cache")
    names = shard_set.recordings["recording"].to_pylist()
    rows = {(row["recording"], row["segment"]): row for row in shard_set.index.to_pylist()}
    assert len(compact.segments) == len(rows)
    number = dict.fromkeys(names, 0)
    for segment in compact.segments:
        name = names[segment["recording"]]
        row = rows[name, number[name]]
        number[name] += 1
        assert compact.shard_names[segment["shard"]] == row["shard"]
        assert segment["signal_offset"] == row["signal_offset"]
        blocks, channels = len(row["block_crc32"]), row["num_channels"]
        words = compact.words[segment["words"] : segment["words"] + blocks + 2 * channels]
        assert words[:blocks].tolist() == row["block_crc32"]
        np.testing.assert_array_equal(
            words[blocks:].view("<f4"), np.array(row["scale"] + row["offset"], dtype="<f4")
        )


def test_it_is_built_once_and_mapped(tmp_path: Path, make_config: Config) -> None:
    truth = write_shard_set(tmp_path / "set")
    config = make_config(truth.path)
    open_stream(config, split="train")
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    assert [file.name for file in files] == ["segments.npy", "words.npy"]
    before = [file.stat().st_mtime_ns for file in files]
    open_stream(config, split="val")
    assert [file.stat().st_mtime_ns for file in files] == before
    compact = open_compact(open_shard_set(truth.path), cache_dir=tmp_path / "cache")
    assert isinstance(compact.segments, np.memmap)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = write_shard_set(tmp_path / "set")

    def refuse(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(compact_module, "sync_file", refuse)
        with pytest.raises(OSError, match="No space left"):
            open_compact(open_shard_set(truth.path), cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    open_compact(open_shard_set(truth.path), cache_dir=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
