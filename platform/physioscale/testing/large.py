"""A shard set with as many windows as a large archive, at the price of its index alone.

In:  a folder, a number of windows. Out: a shard set whose shards are one sparse file of zeros under
     many names, and its compact index; `index.parquet` is empty, so the index must stay cached.

Proportions are those of a large clinical archive: recordings of 24 minutes in segments of 60 s,
windows of 10 s, 438 segments in a shard. Segments are smaller (2 channels at 64 Hz).
"""

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from physioscale import __version__
from physioscale.contract import (
    INDEX_FILE,
    INDEX_SCHEMA,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    RECORDINGS_SCHEMA,
    DatasetInfo,
    ShardFacts,
    SplitFacts,
    file_sha256,
    publish_bytes,
    shard_name,
    to_table,
    write_dataset,
    write_table,
)
from physioscale.streaming.compact import SEGMENT_DTYPE

WINDOW_S = 10.0
WINDOWS_OF_RECORDING = 144

_SEGMENTS_OF_RECORDING = 24
_SEGMENTS_OF_SHARD = 438
_SEGMENT_S = 60
_RATE_HZ = 64
_CHANNELS = 2
_SIGNAL_BYTES = _SEGMENT_S * _RATE_HZ * _CHANNELS * 2
# Where segments lie in a shard: behind each other, with room for headers and other members.
_SPACING_BYTES = 17_920
_HEADERS_BYTES = 2048


def write_large_set(
    folder: Path, *, num_windows: int
) -> tuple[NDArray[np.void], NDArray[np.uint32]]:
    """Write the set; return the arrays of its compact index, as `build_compact` would.

    Args:
        folder: created.
        num_windows: a multiple of `WINDOWS_OF_RECORDING`.
    """
    num_recordings = num_windows // WINDOWS_OF_RECORDING
    num_segments = num_recordings * _SEGMENTS_OF_RECORDING
    num_shards = -(-num_segments // _SEGMENTS_OF_SHARD)
    folder.mkdir(parents=True)
    names = [shard_name("train", number) for number in range(num_shards)]
    with (folder / names[0]).open("wb") as file:
        file.truncate(_SEGMENTS_OF_SHARD * _SPACING_BYTES)
    for name in names[1:]:
        (folder / name).symlink_to(names[0])
    write_table(folder / INDEX_FILE, to_table([], schema=INDEX_SCHEMA))
    write_table(folder / RECORDINGS_FILE, _recordings(num_recordings))
    publish_bytes(folder / QUARANTINE_FILE, b"")
    write_dataset(folder, _info(folder, names, num_recordings, num_segments))
    return _segments(num_segments), _words(num_segments)


def _segments(count: int) -> NDArray[np.void]:
    number = np.arange(count)
    segments = np.zeros(count, dtype=SEGMENT_DTYPE)
    segments["signal_offset"] = number % _SEGMENTS_OF_SHARD * _SPACING_BYTES + _HEADERS_BYTES
    segments["words"] = number * (1 + 2 * _CHANNELS)
    within = number % _SEGMENTS_OF_RECORDING
    segments["start_sample"] = within * _SEGMENT_S * _RATE_HZ
    segments["num_times"] = _SEGMENT_S * _RATE_HZ
    segments["shard"] = number // _SEGMENTS_OF_SHARD
    segments["recording"] = number // _SEGMENTS_OF_RECORDING
    return segments


def _words(count: int) -> NDArray[np.uint32]:
    """Return checksum, scales and offsets of every segment: all alike."""
    floats = np.array([1e-7] * _CHANNELS + [0.0] * _CHANNELS, dtype="<f4").view("<u4")
    one = np.concatenate((np.array([zlib.crc32(bytes(_SIGNAL_BYTES))], dtype="<u4"), floats))
    return np.tile(one, count)


def _recordings(count: int) -> pa.Table:
    channel = {"type": "eeg", "unit": "V", "coil_frame": None, "source": None}
    places = ((0.03, 0.08, 0.04), (0.0, 0.0, 0.09))
    row = {
        **dict.fromkeys(RECORDINGS_SCHEMA.names),
        "corpus": "large",
        "split": "train",
        "content_sha256": "0" * 64,
        "duration_s": float(_SEGMENTS_OF_RECORDING * _SEGMENT_S),
        "num_segments": _SEGMENTS_OF_RECORDING,
        "num_runs": 1,
        "sampling_rate_hz": float(_RATE_HZ),
        "original_sampling_rate_hz": float(_RATE_HZ),
        "low_cut_hz": 0.1,
        "notch_hz": [],
        "channels": [
            {**channel, "name": name, "position_m": list(place)}
            for name, place in zip(("Fp1", "Cz"), places, strict=True)
        ],
        "statistics": [],
        "quality": [],
        "labels": "{}",
        "events": [],
        "dropped_channels": [],
        "notes": [],
    }
    table = to_table([row], schema=RECORDINGS_SCHEMA).take(pa.array(np.zeros(count, dtype="i8")))
    for column, names in (
        ("recording", [f"r{number:08d}" for number in range(count)]),
        ("subject", [f"s{number // 3:08d}" for number in range(count)]),
    ):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, RECORDINGS_SCHEMA.field(column), pa.array(names))
    return table


def _info(folder: Path, names: list[str], num_recordings: int, num_segments: int) -> DatasetInfo:
    files = (INDEX_FILE, RECORDINGS_FILE, QUARANTINE_FILE)
    hours = num_segments * _SEGMENT_S / 3600
    subjects = -(-num_recordings // 3)
    none = SplitFacts(0, 0, 0, 0.0)
    return DatasetInfo(
        kind="signal",
        corpus="large",
        profile={"name": "large"},
        profile_sha256="0" * 64,
        plan_sha256="0" * 64,
        versions={"physioscale": __version__},
        splits={
            "train": SplitFacts(subjects, num_recordings, num_segments, hours),
            "val": none,
            "test": none,
        },
        shards=tuple(
            ShardFacts(name, "0" * 64, _SEGMENTS_OF_SHARD * _SPACING_BYTES, _SEGMENTS_OF_SHARD)
            for name in names
        ),
        files={name: file_sha256(folder / name) for name in files},
        quarantined=0,
    )
