"""R11: the gaps of an EDF+D file are gaps; onsets are right to the sample."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.contract import open_shard_set
from physioscale.testing import Annotation, write_edf

Figure = Callable[[str, object], None]

RATE_HZ = 128
RECORD_SAMPLES = 32
# Every sample holds its own number in the file: what a shard holds tells where it came from.
RANGE = (-32768.0, 32767.0)


@pytest.mark.promise(
    "R11",
    asked="segments never span a gap; onsets right to the sample, in random gap layouts",
    full=300,
    small=10,
)
def test_gaps_are_gaps(tmp_path: Path, shard: Any, count: int, figure: Figure) -> None:
    layouts = {f"s{number}/a.edf": _layout(random.Random(number)) for number in range(count)}
    for path, onsets_s in layouts.items():
        _write(tmp_path / "in" / path, onsets_s)
    words = ["--profile", "eeg-native", "--set", "subject_ids=public", "--set", "allow_text=true"]
    words += ["--set", "segment_s=4", "--split", "val=0,test=0"]
    assert shard(tmp_path / "in", tmp_path / "out", *words) == 0
    found = _segments(tmp_path / "out")
    assert set(found) == set(layouts)
    for path, onsets_s in layouts.items():
        _check(found[path], onsets_s)
    figure("gaps", sum(len(_runs(onsets_s)) - 1 for onsets_s in layouts.values()))


def _layout(rng: random.Random) -> list[float]:
    """Return the onset of each record of a quarter of a second; some are behind a gap."""
    onsets_s, next_s = [], 0.0
    for _ in range(rng.randint(20, 80)):
        onsets_s.append(round(next_s, 9))
        next_s += RECORD_SAMPLES / RATE_HZ
        if rng.random() < 0.12:
            samples = rng.choice([1, 2, 7, 128, 1000, 54_321])
            # Some gaps are no whole number of samples: the nearest sample counts.
            next_s += (samples + rng.choice([0.0, 0.0, 0.3, -0.3])) / RATE_HZ
    return onsets_s


def _runs(onsets_s: list[float]) -> list[tuple[int, int, float]]:
    """Return (first sample in the file, number of samples, onset) of each gap-free stretch."""
    runs: list[tuple[int, int, float]] = []
    for record, onset_s in enumerate(onsets_s):
        first, length, begin_s = runs[-1] if runs else (0, 0, 0.0)
        if runs and abs(onset_s - (begin_s + length / RATE_HZ)) <= 0.5 / RATE_HZ:
            runs[-1] = (first, length + RECORD_SAMPLES, begin_s)
        else:
            runs.append((record * RECORD_SAMPLES, RECORD_SAMPLES, onset_s))
    return runs


def _write(path: Path, onsets_s: list[float]) -> None:
    numbers = np.arange(len(onsets_s) * RECORD_SAMPLES, dtype=np.float64)[np.newaxis]
    notes = [
        # In the middle of the run, on a sample.
        Annotation(onset_s + (length // 2) / RATE_HZ, f"n{first + length // 2}")
        for first, length, onset_s in _runs(onsets_s)
    ]
    write_edf(
        path,
        numbers,
        labels=["Cz"],
        sampling_rate_hz=RATE_HZ,
        physical_range=RANGE,
        record_duration_s=RECORD_SAMPLES / RATE_HZ,
        kind="edf+d",
        record_onsets_s=onsets_s,
        annotations=notes,
    )


def _segments(out: Path) -> dict[str, list[tuple[dict[str, Any], NDArray[np.int64]]]]:
    """Return (meta, numbers of the samples in the file) of each segment, by source file."""
    rows = open_shard_set(out).recordings.to_pylist()
    source = {row["recording"]: row["source"] for row in rows}
    found = defaultdict(list)
    for row in open_shard_set(out).index.to_pylist():
        members = {member["name"]: member for member in row["members"]}
        with (out / row["shard"]).open("rb") as file:
            file.seek(row["signal_offset"])
            stored = np.frombuffer(file.read(row["signal_bytes"]), dtype="<i2").astype(np.float64)
            file.seek(members["meta.json"]["offset"])
            meta = json.loads(file.read(members["meta.json"]["size"]))
        volts = stored * row["scale"][0] + row["offset"][0]
        numbers = np.rint(volts * 1e6).astype(np.int64)
        found[source[row["recording"]]].append((meta, numbers))
    return dict(found)


def _check(segments: list[tuple[dict[str, Any], NDArray[np.int64]]], onsets_s: list[float]) -> None:
    runs = [run for run in _runs(onsets_s) if run[1] >= RATE_HZ]
    place = {
        first + n: round(onset_s * RATE_HZ) + n
        for first, length, onset_s in runs
        for n in range(length)
    }
    seen: list[int] = []
    events: set[int] = set()
    for meta, numbers in segments:
        times = meta["start_sample"] + np.arange(len(numbers))
        assert [place[number] for number in numbers.tolist()] == times.tolist()
        seen += numbers.tolist()
        for event in meta["annotations"]:
            at = event["onset_s"] * RATE_HZ
            # Half a sample: a gap may be no whole number of samples.
            assert abs(numbers[round(at)] - int(event["label"].removeprefix("n"))) == 0
            assert abs(at - round(at)) <= 0.5
            events.add(int(numbers[round(at)]))
    # Nothing is lost but stretches and rests of stretches that are shorter than a second.
    assert len(seen) == len(set(seen))
    lost = set(place) - set(seen)
    for first, length, _ in runs:
        rest = lost & set(range(first, first + length))
        assert rest == set(range(first + length - len(rest), first + length))
        assert len(rest) < RATE_HZ
    assert events == {first + length // 2 for first, length, _ in runs}
