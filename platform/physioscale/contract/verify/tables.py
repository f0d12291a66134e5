"""The tables against each other: every recording has its segments, every count is right."""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from physioscale.contract.dataset import SplitFacts
from physioscale.contract.schema import (
    DATASET_FILE,
    INDEX_FILE,
    RECORDINGS_FILE,
    SPLITS,
    split_of_shard,
)
from physioscale.contract.verify.opened import OpenedSet
from physioscale.contract.verify.report import Faults
from physioscale.errors import InputError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROWS_AT_ONCE = 1000


@dataclass
class _Counts:
    """Counts of one split, from the recordings table."""

    subjects: set[str] = field(default_factory=set)
    recordings: int = 0
    segments: int = 0
    hours: float = 0.0


def recording_rows(table: pa.Table) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table, a few at a time as Python objects."""
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def check_tables(opened: OpenedSet) -> Faults:
    """Yield the faults of the two tables; a table that is damaged is named elsewhere."""
    if opened.index is not None:
        yield from _check_index(opened, opened.index)
    if opened.recordings is not None:
        yield from _check_recordings(opened, opened.recordings)
    if opened.index is not None and opened.recordings is not None:
        yield from _check_segments(opened, opened.index, opened.recordings)


def _check_index(opened: OpenedSet, index: pa.Table) -> Faults:
    places = list(zip(index["shard"].to_pylist(), index["signal_offset"].to_pylist(), strict=True))
    if places != sorted(places):
        yield opened.fault(INDEX_FILE, "its rows are not sorted by shard and signal_offset")
    for key, count in Counter(index["key"].to_pylist()).items():
        if count > 1:
            yield opened.fault(INDEX_FILE, f"{count} rows have this key", sample=key)
    named = {shard.name for shard in opened.info.shards}
    pairs = sorted(set(zip(index["shard"].to_pylist(), index["split"].to_pylist(), strict=True)))
    for shard, split in pairs:
        if shard not in named:
            yield opened.fault(INDEX_FILE, f"names shard {shard}, which dataset.json does not list")
        elif _split_of(shard) != split:
            yield opened.fault(INDEX_FILE, f"puts segments of split {split} into {shard}")


def _split_of(shard: str) -> str | None:
    try:
        return split_of_shard(shard)
    except InputError:
        return None


def _check_recordings(opened: OpenedSet, recordings: pa.Table) -> Faults:
    names = recordings["recording"].to_pylist()
    if names != sorted(set(names)):
        yield opened.fault(RECORDINGS_FILE, "its rows are not sorted by recording, each once")
    counted: dict[str, _Counts] = defaultdict(_Counts)
    for row in recording_rows(recordings):
        for message in _row_problems(opened, row):
            yield opened.fault(RECORDINGS_FILE, f"recording {row['recording']!r}: {message}")
        counts = counted[row["split"]]
        counts.subjects.add(row["subject"])
        counts.recordings += 1
        counts.segments += row["num_segments"]
        counts.hours += row["duration_s"] / 3600
    yield from _check_counts(opened, counted)


def _row_problems(opened: OpenedSet, row: Mapping[str, Any]) -> Iterator[str]:
    channels = len(row["channels"])
    if row["split"] not in SPLITS:
        yield f"split {row['split']!r}; expected train, val or test"
    if row["corpus"] != opened.info.corpus:
        yield f"corpus {row['corpus']!r}; dataset.json says {opened.info.corpus!r}"
    if not _SHA256.fullmatch(row["content_sha256"] or ""):
        yield f"content_sha256 {row['content_sha256']!r}; expected 64 hexadecimal digits"
    if not _is_label_object(row["labels"]):
        yield "labels that are not a JSON object of scalars"
    for band in row["statistics"]:
        values = [*band["mean"], *band["std"]]
        if len(values) != 2 * channels or not all(math.isfinite(value) for value in values):
            yield (
                f"statistics of band {band['band']!r} are not a finite mean and std for each of "
                f"{channels} channels"
            )


def _is_label_object(text: str | None) -> bool:
    try:
        labels = json.loads(text or "")
    except ValueError:
        return False
    scalars = (str, int, float, type(None))
    return isinstance(labels, dict) and all(isinstance(v, scalars) for v in labels.values())


def _check_counts(opened: OpenedSet, counted: Mapping[str, _Counts]) -> Faults:
    none = SplitFacts(0, 0, 0, 0.0)
    for split in sorted({*counted, *opened.info.splits}):
        listed = asdict(opened.info.splits.get(split, none))
        counts = counted.get(split, _Counts())
        found = {**vars(counts), "subjects": len(counts.subjects)}
        for name, value in listed.items():
            # Hours are a sum of floats, whose last digits depend on the order of the rows.
            if not math.isclose(found[name], value, rel_tol=1e-9, abs_tol=1e-12):
                yield opened.fault(
                    DATASET_FILE,
                    f"counts {value} {name} in split {split}; {RECORDINGS_FILE} has {found[name]}",
                )


def _check_segments(opened: OpenedSet, index: pa.Table, recordings: pa.Table) -> Faults:
    """Compare the segments of each recording with its row."""
    stretches = _Stretches.of(index)
    columns = ["recording", "split", "num_segments", "num_runs", "duration_s", "sampling_rate_hz"]
    known = set()
    for row in recording_rows(recordings.select(columns)):
        known.add(row["recording"])
        for message in stretches.problems(row):
            yield opened.fault(INDEX_FILE, f"recording {row['recording']!r}: {message}")
    for name in sorted(set(stretches.names) - known):
        yield opened.fault(
            INDEX_FILE, f"has segments of recording {name!r}, which {RECORDINGS_FILE} does not name"
        )


@dataclass(frozen=True)
class _Stretches:
    """The index in the order (recording, segment), and where each recording lies in it."""

    names: Mapping[str, slice]
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, index: pa.Table) -> "_Stretches":
        recording = np.array(index["recording"].to_pylist(), dtype=object)
        names, codes = np.unique(recording, return_inverse=True)
        order = np.lexsort((index["segment"].to_numpy(), codes))
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        wanted = (
            "segment",
            "run",
            "start_sample",
            "start_s",
            "num_times",
            "sampling_rate_hz",
            "split",
        )
        columns = {name: index[name].to_numpy(zero_copy_only=False)[order] for name in wanted}
        slices = {str(name): slice(bounds[at], bounds[at + 1]) for at, name in enumerate(names)}
        return cls(slices, columns)

    def problems(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield what contradicts a row of `recordings.parquet`."""
        place = self.names.get(row["recording"], slice(0, 0))
        segments = {name: values[place] for name, values in self.columns.items()}
        count = len(segments["segment"])
        if count != row["num_segments"]:
            yield f"has {count} segments; {RECORDINGS_FILE} says {row['num_segments']}"
            return
        if count == 0:
            yield "has no segment"
            return
        if (segments["segment"] != np.arange(count)).any():
            yield "its segments are not numbered 0, 1, 2, ..."
        for name in ("split", "sampling_rate_hz"):
            if (segments[name] != row[name]).any():
                yield f"a segment has another {name} than {RECORDINGS_FILE} says ({row[name]})"
        yield from _time_problems(segments, row)


def _time_problems(segments: Mapping[str, NDArray[Any]], row: Mapping[str, Any]) -> Iterator[str]:
    starts, run = segments["start_sample"], segments["run"]
    ends = starts + segments["num_times"]
    steps = np.diff(run)
    if run[0] != 0 or not np.isin(steps, (0, 1)).all():
        yield "its runs are not numbered 0, 1, 2, ..."
    elif run[-1] + 1 != row["num_runs"]:
        yield f"has {run[-1] + 1} runs; {RECORDINGS_FILE} says {row['num_runs']}"
    gaps = starts[1:] - ends[:-1]
    if (gaps < 0).any():
        yield f"segment {int(np.argmax(gaps < 0)) + 1} begins before the one before it has ended"
    elif (gaps[steps == 0] > 0).any():
        at = int(np.flatnonzero((steps == 0) & (gaps > 0))[0]) + 1
        yield f"segment {at} begins behind a gap in its run"
    if not np.allclose(segments["start_s"], starts / row["sampling_rate_hz"], rtol=1e-9):
        yield "start_s is not start_sample / sampling_rate_hz"
    stored_s = float(segments["num_times"].sum()) / row["sampling_rate_hz"]
    if not math.isclose(stored_s, row["duration_s"], rel_tol=1e-9, abs_tol=1e-9):
        yield f"holds {stored_s:g} s; {RECORDINGS_FILE} says {row['duration_s']:g} s"
