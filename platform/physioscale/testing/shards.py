"""A small valid shard set of generated EEG, and what is true of it.

In:  a folder and a list of recordings to make up.
Out: the shard set as a converter would have written it, and a `ShardSetTruth` with the decoded
     samples of every recording, (times, channels) float32 in V, as a reader must return them.

Recordings may have gaps, differ in channels and rate, and leave int16 (a burst of 50 mV makes one
segment float32). The same arguments give the same bytes on one machine.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from physioscale import __version__
from physioscale.contract import (
    INDEX_FILE,
    INDEX_SCHEMA,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    RECORDINGS_SCHEMA,
    SPLITS,
    DatasetInfo,
    ShardFacts,
    ShardWriter,
    SplitFacts,
    file_sha256,
    labels_to_json,
    publish_bytes,
    shard_name,
    to_table,
    write_dataset,
    write_table,
)
from physioscale.testing.recordings import (
    Bands,
    Segment,
    StoredRecording,
    SyntheticRecording,
    make_recording,
    synthetic_recordings,
)

DEFAULT_BANDS: Bands = {"wide": (None, None), "reve": (0.5, 99.5)}


@dataclass(frozen=True)
class ShardSetTruth:
    """What was written."""

    path: Path
    recordings: tuple[StoredRecording, ...]

    def recording(self, name: str) -> StoredRecording:
        """Return the recording of that name."""
        return next(stored for stored in self.recordings if stored.spec.name == name)


def write_shard_set(
    folder: Path,
    *,
    recordings: Sequence[SyntheticRecording] | None = None,
    corpus: str = "synthetic",
    seed: int = 0,
    segment_s: float = 60.0,
    segments_per_shard: int = 4,
    dtype: str = "int16",
    low_cut_hz: float | None = 0.1,
    high_cut_hz: float | None = None,
    notch_hz: Sequence[float] = (),
    bands: Bands = DEFAULT_BANDS,
) -> ShardSetTruth:
    """Write a shard set of made-up recordings into `folder`.

    Args:
        folder: created; the shards of an earlier call in it are overwritten.
        recordings: what to make up; None takes `synthetic_recordings()`.
        corpus: name of the corpus.
        seed: of the signals.
        segment_s: longest segment (s).
        segments_per_shard: a shard of a split is closed after so many.
        dtype: int16 or float32, as stored.
        low_cut_hz: what the tables say of the high-pass; the signals are not filtered.
        high_cut_hz: what the tables say of the low-pass; None: the anti-alias filter only.
        notch_hz: what the tables say of notch filters.
        bands: name -> (low, high) in Hz of the bands that statistics are stored for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    specs = sorted(synthetic_recordings() if recordings is None else recordings, key=_order)
    filters = {"low_cut_hz": low_cut_hz, "high_cut_hz": high_cut_hz, "notch_hz": list(notch_hz)}
    stored, segments, rows = [], [], []
    for spec in specs:
        made, parts = make_recording(
            spec, corpus=corpus, seed=seed, segment_s=segment_s, dtype=dtype, bands=bands
        )
        stored.append(made)
        segments += parts
        rows.append(_recording_row(made, parts, corpus=corpus, bands=bands, filters=filters))
    index, shards = _write_shards(folder, segments, segments_per_shard)
    rows.sort(key=lambda row: str(row["recording"]))
    write_table(folder / INDEX_FILE, to_table(index, schema=INDEX_SCHEMA))
    write_table(folder / RECORDINGS_FILE, to_table(rows, schema=RECORDINGS_SCHEMA))
    publish_bytes(folder / QUARANTINE_FILE, b"")
    write_dataset(folder, _dataset(folder, rows=rows, shards=shards, corpus=corpus, seed=seed))
    return ShardSetTruth(folder, tuple(stored))


def _order(spec: SyntheticRecording) -> tuple[int, str]:
    return SPLITS.index(spec.split), spec.name


def _recording_row(
    made: StoredRecording,
    segments: Sequence[Segment],
    *,
    corpus: str,
    bands: Bands,
    filters: Mapping[str, Any],
) -> dict[str, Any]:
    spec, rate = made.spec, made.spec.sampling_rate_hz
    content = hashlib.sha256(b"".join(run.tobytes() for run in made.runs)).hexdigest()
    return {
        "recording": spec.name,
        "corpus": corpus,
        "subject": spec.subject,
        "session": None,
        "task": spec.task,
        "acquisition_run": None,
        "split": spec.split,
        "source": f"{spec.name}.edf",
        "source_format": "synthetic",
        "content_sha256": content,
        "duration_s": sum(len(run) for run in made.runs) / rate,
        "num_segments": len(segments),
        "num_runs": len(made.runs),
        "sampling_rate_hz": rate,
        "original_sampling_rate_hz": rate,
        "original_low_cut_hz": None,
        "original_high_cut_hz": None,
        **filters,
        "channels": [dataclasses.asdict(channel) for channel in segments[0][0].channels],
        "reference": "synthetic",
        "position_frame": "head",
        "repetition_time_s": None,
        "statistics": [
            {
                "band": name,
                "low_hz": bands[name][0],
                "high_hz": bands[name][1],
                "mean": mean.tolist(),
                "std": std.tolist(),
            }
            for name, (mean, std) in made.statistics.items()
        ],
        "quality": [],
        "labels": labels_to_json(spec.labels),
        "events": [],
        "dropped_channels": [],
        "notes": [],
    }


def _write_shards(
    folder: Path, segments: Sequence[Segment], segments_per_shard: int
) -> tuple[list[dict[str, Any]], list[ShardFacts]]:
    index: list[dict[str, Any]] = []
    shards: list[ShardFacts] = []
    for split, group in groupby(segments, key=lambda segment: segment[0].split):
        members = list(group)
        for number, at in enumerate(range(0, len(members), segments_per_shard)):
            name = shard_name(split, number)
            with ShardWriter(folder / name, name=name) as writer:
                for meta, signal in members[at : at + segments_per_shard]:
                    index.append(writer.write(meta, signal))
                shards.append(writer.close())
    index.sort(key=lambda row: (row["shard"], row["signal_offset"]))
    return index, sorted(shards, key=lambda shard: shard.name)


def _dataset(
    folder: Path,
    *,
    rows: Sequence[Mapping[str, Any]],
    shards: Sequence[ShardFacts],
    corpus: str,
    seed: int,
) -> DatasetInfo:
    profile = {"name": "synthetic", "seed": seed}
    names = (INDEX_FILE, RECORDINGS_FILE, QUARANTINE_FILE)
    return DatasetInfo(
        kind="signal",
        corpus=corpus,
        profile=profile,
        profile_sha256=hashlib.sha256(json.dumps(profile, sort_keys=True).encode()).hexdigest(),
        plan_sha256=hashlib.sha256(f"{seed}".encode()).hexdigest(),
        versions={"physioscale": __version__},
        splits={split: _facts([row for row in rows if row["split"] == split]) for split in SPLITS},
        shards=tuple(shards),
        files={name: file_sha256(folder / name) for name in names},
        quarantined=0,
    )


def _facts(rows: Sequence[Mapping[str, Any]]) -> SplitFacts:
    return SplitFacts(
        subjects=len({row["subject"] for row in rows}),
        recordings=len(rows),
        segments=sum(row["num_segments"] for row in rows),
        hours=sum(row["duration_s"] for row in rows) / 3600,
    )
