"""The compact index: what reading needs of a shard set, memory-mapped and shared by all processes.

Built once per shard set from `index.parquet`, in a cache folder named by the set's checksum.
`segments.npy` holds 40 bytes per segment in the order (recording, segment); `words.npy` holds, per
segment, its block checksums, then scale and offset per channel, as 4-byte words, so that a window
needs one `pread` of its shard and nothing else.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from physioscale.contract import ShardSet
from physioscale.contract.publish import sync_file
from physioscale.errors import InputError

# 40 bytes. `words` is the segment's first place in words.npy; `shard` and `recording` are rows of
# dataset.json's shards and of recordings.parquet.
SEGMENT_DTYPE = np.dtype(
    [
        ("signal_offset", "<i8"),
        ("words", "<i8"),
        ("start_sample", "<i8"),
        ("num_times", "<i4"),
        ("shard", "<i4"),
        ("recording", "<i4"),
        ("run", "<u2"),
        ("is_float", "u1"),
        ("has_offset", "u1"),
    ]
)
_FORMAT = 2
ENVIRONMENT_VARIABLE = "PHYSIOSCALE_CACHE"


@dataclass(frozen=True)
class CompactIndex:
    """The memory-mapped arrays of one shard set."""

    segments: NDArray[np.void]
    """(num_segments,) of SEGMENT_DTYPE."""
    words: NDArray[np.uint32]
    """Block checksums, and float32 scale and offset kept as their bits."""
    shard_names: tuple[str, ...]
    folder: Path
    """The shard set's own folder."""


def open_compact(shard_set: ShardSet, *, cache_dir: Path | None = None) -> CompactIndex:
    """Open the compact index of a shard set, building it on first use.

    Raises:
        InputError: the cache folder cannot be written, or the index contradicts itself.
    """
    root = cache_dir if cache_dir is not None else default_cache_dir()
    folder = root / f"index-{_FORMAT}-{shard_set.info.checksum[:32]}"
    if not folder.is_dir():
        _publish(shard_set, folder)
    return CompactIndex(
        # Copy-on-write maps are shared as long as nobody writes, and torch takes them as they are.
        segments=np.load(folder / "segments.npy", mmap_mode="c", allow_pickle=False),
        words=np.load(folder / "words.npy", mmap_mode="c", allow_pickle=False),
        shard_names=tuple(shard.name for shard in shard_set.info.shards),
        folder=shard_set.path,
    )


def default_cache_dir() -> Path:
    """Return the user's cache folder: `PHYSIOSCALE_CACHE`, else the XDG cache, else ~/.cache."""
    own = os.environ.get(ENVIRONMENT_VARIABLE)
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physioscale"


def build_compact(shard_set: ShardSet) -> tuple[NDArray[np.void], NDArray[np.uint32]]:
    """Return the arrays of a shard set's compact index.

    Raises:
        InputError: the tables contradict each other.
    """
    index = shard_set.index
    segments = np.zeros(index.num_rows, dtype=SEGMENT_DTYPE)
    segments["signal_offset"] = index["signal_offset"].to_numpy()
    segments["start_sample"] = index["start_sample"].to_numpy()
    segments["num_times"] = index["num_times"].to_numpy()
    segments["run"] = index["run"].to_numpy()
    segments["is_float"] = np.asarray(index["dtype"].to_numpy() == "float32")
    segments["shard"] = _rows_of(index["shard"], [s.name for s in shard_set.info.shards])
    segments["recording"] = _rows_of(
        index["recording"], shard_set.recordings["recording"].to_pylist()
    )
    offset, lengths = _lists(index["offset"], np.dtype("<f4"))
    segments["has_offset"] = _any_nonzero(offset, lengths)
    order = np.lexsort((index["segment"].to_numpy(), segments["recording"]))
    segments = segments[order]
    words, first = _words(index, order)
    segments["words"] = first
    _check_runs(segments, where=str(shard_set.path))
    return segments, words


def run_starts(segments: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the first segment of each gap-free run, and the segment count at the end."""
    recording, run = segments["recording"], segments["run"]
    changed = (recording[1:] != recording[:-1]) | (run[1:] != run[:-1])
    inner = np.flatnonzero(changed) + 1
    bounds = [np.zeros(min(1, len(segments)), np.int64), inner, np.array([len(segments)])]
    return np.concatenate(bounds).astype(np.int64)


def _words(
    index: pa.Table, order: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Interleave checksums, scales and offsets per segment in `order`; return words and starts."""
    parts = [
        _lists(index["block_crc32"], np.dtype("<u4")),
        _lists(index["scale"], np.dtype("<f4")),
        _lists(index["offset"], np.dtype("<f4")),
    ]
    lengths = np.stack([length for _, length in parts])
    total = lengths.sum(axis=0)[order]
    first = np.concatenate(([0], np.cumsum(total)[:-1])).astype(np.int64) if len(total) else total
    words = np.empty(int(total.sum()), dtype="<u4")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = first
    for values, length in parts:
        within = np.arange(len(values)) - np.repeat(np.cumsum(length) - length, length)
        words[np.repeat(place, length) + within] = values.view("<u4")
        place = place + length
    return words, first


def _lists(
    column: pa.ChunkedArray, dtype: np.dtype[np.generic]
) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([])
    lengths = np.asarray(combined.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)
    return combined.flatten().to_numpy(zero_copy_only=False).astype(dtype), lengths


def _any_nonzero(values: NDArray[np.generic], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return, per list, whether any of its values differs from 0."""
    before = np.concatenate(([0], np.cumsum(values != 0)))
    end = np.cumsum(lengths)
    return np.asarray(before[end] > before[end - lengths])


def _rows_of(column: pa.ChunkedArray, names: list[str]) -> NDArray[np.int32]:
    rows = {name: row for row, name in enumerate(names)}
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    known = encoded.dictionary.to_pylist()
    unknown = [name for name in known if name not in rows]
    if unknown:
        raise InputError(
            "index.parquet",
            found=f"{column.type} {unknown[0]!r}, which no other table names",
            expected="shards of dataset.json and recordings of recordings.parquet",
            do="Run `physioscale verify` on the folder.",
        )
    table = np.array([rows[name] for name in known], dtype=np.int32)
    picked: NDArray[np.int32] = table[encoded.indices.to_numpy()]
    return picked


def _check_runs(segments: NDArray[np.void], *, where: str) -> None:
    """Segments of a run follow each other, and all but the last have one length."""
    starts = run_starts(segments)
    inside = np.ones(max(len(segments) - 1, 0), dtype=bool)
    inside[starts[1:-1] - 1] = False
    times, begin = segments["num_times"], segments["start_sample"]
    length = np.repeat(times[starts[:-1]], np.diff(starts))
    follows = begin[1:] == begin[:-1] + times[:-1]
    even = (times[:-1] == length[:-1]) & (times[1:] <= length[1:])
    if not (follows & even)[inside].all():
        raise InputError(
            where,
            found="segments of one run that leave a gap or differ in length before the last",
            expected="gap-free runs cut into equal segments, the last one shorter or equal",
            do="Run `physioscale verify` on the folder and convert the corpus again.",
        )


def _publish(shard_set: ShardSet, folder: Path) -> None:
    segments, words = build_compact(shard_set)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    except OSError as error:
        raise InputError(
            str(folder.parent),
            found=f"a cache folder that cannot be written ({error.strerror})",
            expected="a writable folder",
            do=f"Set data.cache_dir, or {ENVIRONMENT_VARIABLE}, to one.",
        ) from None
    try:
        for name, array in (("segments.npy", segments), ("words.npy", words)):
            np.save(building / name, array, allow_pickle=False)
            # A power cut must not leave the folder's name with files that are empty.
            sync_file(building / name)
        building.rename(folder)
    except OSError:
        # Another rank was first; its folder holds the same bytes.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
