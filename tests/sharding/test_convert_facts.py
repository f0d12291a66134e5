"""What a shard set says beside the samples: events, names, hashes, statistics; no identity."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physioscale.contract import open_shard_set
from physioscale.contract.verify import verify_shard_sets
from physioscale.errors import InputError
from physioscale.testing import Annotation, write_bids_corpus, write_edf, write_folder_corpus

Convert = Callable[..., Any]
Segments = Callable[[Path], list[dict[str, Any]]]

NAMES = ("Fp1", "Cz", "O2")
DEFINITION = """
name: listed
title: a corpus with a list of labels
modality: eeg
layout: folder
annotation_labels: [T1, T2]
public_subject_ids: true
licence: none
access: none
"""


def noise_uv(seed: int, duration_s: float = 70.0) -> Any:
    """Return (3, T) microvolts at 100 Hz."""
    return np.random.default_rng(seed).normal(0, 20, (3, int(duration_s * 100)))


def write(path: Path, seed: int, **options: Any) -> None:
    """Write an EDF file at 100 Hz."""
    facts: dict[str, Any] = {"labels": NAMES, "sampling_rate_hz": 100.0}
    write_edf(path, noise_uv(seed), **(facts | options))


def recordings(out: Path) -> list[dict[str, Any]]:
    """Return the rows of recordings.parquet."""
    rows: list[dict[str, Any]] = open_shard_set(out).recordings.to_pylist()
    return rows


def test_bids_tables_become_labels_and_events(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    truth = write_bids_corpus(tmp_path / "in", num_subjects=3, duration_s=65, sampling_rate_hz=64)
    convert(tmp_path / "in", tmp_path / "out", definition="bids", overrides=["subject_ids=public"])
    rows = {row["source"]: row for row in recordings(tmp_path / "out")}
    for one in truth.recordings:
        row = rows[one.path.relative_to(truth.root).as_posix()]
        assert (row["subject"], row["task"]) == (one.subject, one.task)
        assert json.loads(row["labels"]) == {"age": one.age, "sex": one.sex}
        found = [(e["onset_s"], e["duration_s"], e["label"]) for e in row["events"]]
        assert found == [(e.onset_s, e.duration_s, e.label) for e in one.events]
        assert row["recording"].startswith(f"sub-{one.subject}_task-{one.task}_rec-")
    # Ten-second blocks: the last one, 60 to 65 s, lies in the short second segment.
    second = [s["meta.json"] for s in segments(tmp_path / "out") if s["meta.json"]["segment"] == 1]
    assert len(second) == 6
    for meta in second:
        assert [(a["onset_s"], a["duration_s"]) for a in meta["annotations"]] == [(0.0, 5.0)]


def test_only_listed_annotations_are_kept(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    notes = [
        Annotation(3.0, "T1", 2.0),
        Annotation(59.5, "T2", 1.0),
        Annotation(60.0, "T1"),
        Annotation(5.0, "called Mrs Example"),
    ]
    write(tmp_path / "in/s1/a.edf", 1, kind="edf+c", annotations=notes)
    (tmp_path / "listed.yaml").write_text(DEFINITION)
    convert(tmp_path / "in", tmp_path / "out", definition=str(tmp_path / "listed.yaml"))
    (row,) = recordings(tmp_path / "out")
    assert [(e["onset_s"], e["duration_s"], e["label"]) for e in row["events"]] == [
        (3.0, 2.0, "T1"),
        (59.5, 1.0, "T2"),
        (60.0, 0.0, "T1"),
    ]
    assert "texts_withheld: 1 annotation texts are no known labels" in row["notes"]
    inside = [s["meta.json"]["annotations"] for s in segments(tmp_path / "out")]
    # The event across the cut is in both segments, each with its part.
    assert [[(a["onset_s"], a["duration_s"], a["label"]) for a in part] for part in inside] == [
        [(3.0, 2.0, "T1"), (59.5, 0.5, "T2")],
        [(0.0, 0.5, "T2"), (0.0, 0.0, "T1")],
    ]


def test_free_text_is_kept_where_the_profile_allows_it(tmp_path: Path, convert: Convert) -> None:
    notes = [Annotation(5.0, "eyes closed, drowsy")]
    write(tmp_path / "in/s1/a.edf", 1, kind="edf+c", annotations=notes)
    convert(tmp_path / "in", tmp_path / "out", overrides=["allow_text=true"])
    (row,) = recordings(tmp_path / "out")
    assert [event["label"] for event in row["events"]] == ["eyes closed, drowsy"]


def test_no_identity_in_any_byte(tmp_path: Path, convert: Convert) -> None:
    secrets = [
        "Zacharias",
        "Quillfeather",
        "MRN778899",
        "1961",
        "Nov-1961",
        "24.12.03",
        "Drumknott",
    ]
    person = {
        "patient": "MRN778899 M 03-NOV-1961 Zacharias_Quillfeather",
        "recording": "Startdate 24-DEC-2003 X Drumknott X",
        "startdate": "24.12.03",
    }
    notes = [Annotation(1.0, "Quillfeather coughs")]
    root = tmp_path / "in"
    for day in ("a", "b"):
        path = root / f"Quillfeather_Zacharias/1961_{day}.edf"
        write(path, ord(day), kind="edf+c", annotations=notes, **person)
    write(root / "Drumknott/1961.edf", 3, **person)
    (root / "Drumknott/Zacharias.edf").write_bytes((root / "Drumknott/1961.edf").read_bytes()[:900])
    convert(root, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    shard_set = open_shard_set(tmp_path / "out")
    texts = [path.read_bytes().decode("latin-1") for path in files]
    texts += [path.name for path in files]
    texts += [json.dumps(table.to_pylist()) for table in (shard_set.index, shard_set.recordings)]
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            texts += tar.getnames()
    assert len(files) >= 6
    assert len(shard_set.recordings) == 3
    assert (tmp_path / "out/quarantine.jsonl").read_text().count("\n") == 1
    found = {word for word in secrets for text in texts if word.lower() in text.lower()}
    assert not found


def test_subject_hash_needs_the_key(tmp_path: Path, convert: Convert) -> None:
    write(tmp_path / "in/s1/a.edf", 1)
    subjects = set()
    for number, key in enumerate((b"physioscale", b"another key of 16")):
        convert(tmp_path / "in", tmp_path / f"out{number}", key=key)
        (row,) = recordings(tmp_path / f"out{number}")
        subjects.add(row["subject"])
    assert len(subjects) == 2


def test_same_samples_have_the_same_hash_under_other_names(
    tmp_path: Path, convert: Convert
) -> None:
    values = noise_uv(4)
    write_edf(tmp_path / "in/s1/a.edf", values, labels=NAMES, sampling_rate_hz=100.0)
    write_edf(
        tmp_path / "in/s2/b.edf",
        values[::-1],
        labels=("EEG O2-REF", "EEG CZ-REF", "EEG FP1-REF"),
        sampling_rate_hz=100.0,
    )
    write(tmp_path / "in/s3/c.edf", 5)
    outcome = convert(
        tmp_path / "in", tmp_path / "out", overrides=["split.val=0.34", "split.test=0.34"]
    )
    rows = {row["split"]: row for row in recordings(tmp_path / "out")}
    assert set(rows) == {"train", "val", "test"}
    same = [row for row in rows.values() if row["content_sha256"] != _hash_of_c(tmp_path)]
    assert len({row["content_sha256"] for row in same}) == 1
    (warning,) = outcome.merged.warnings
    assert all(row["recording"] in warning for row in same)
    assert [
        fault
        for fault in verify_shard_sets([tmp_path / "out"]).faults
        if "same samples" in fault.message
    ]


def _hash_of_c(tmp_path: Path) -> str:
    samples = np.frombuffer((tmp_path / "in/s3/c.edf").read_bytes()[1024:], "<i2")
    channels = samples.reshape(-1, 3, 100).transpose(1, 0, 2).reshape(3, -1)
    digests = sorted(hashlib.sha256(channel.tobytes()).hexdigest() for channel in channels)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def test_corpus_statistics_are_of_training_subjects_only(tmp_path: Path, convert: Convert) -> None:
    for number in range(4):
        path = tmp_path / f"in/s{number}/a.edf"
        write_edf(path, noise_uv(number) * (number + 1), labels=NAMES, sampling_rate_hz=100.0)
    convert(
        tmp_path / "in",
        tmp_path / "out",
        profile="eeg-native",
        overrides=["subject_ids=public", "split.val=0.25", "split.test=0.25"],
    )
    training = {row["subject"] for row in recordings(tmp_path / "out") if row["split"] == "train"}
    assert len(training) == 2
    found = json.loads((tmp_path / "out/statistics/native.json").read_text())
    pooled = np.concatenate([noise_uv(n) * (n + 1) for n in range(4) if f"s{n}" in training])
    eeg = found["channel_types"]["eeg"]
    # 16 bits over the channel's range: the deviation is right to a step.
    assert eeg["std"] == pytest.approx(pooled.std() * 1e-6, rel=1e-4)
    assert (eeg["num_channels"], eeg["num_samples"], eeg["unit"]) == (6, 42000, "V")
    assert (found["split"], found["num_subjects"], found["num_recordings"]) == ("train", 2, 2)
    listed = "\n".join(sorted(training)).encode()
    assert found["subjects_sha256"] == hashlib.sha256(listed).hexdigest()


def test_wanted_channels_of_other_rates_are_dropped_with_reason(
    tmp_path: Path, convert: Convert
) -> None:
    rates = [100.0, 50.0, 200.0, 100.0]
    signals = [
        np.random.default_rng(n).normal(0, 20, int(10 * rate)) for n, rate in enumerate(rates)
    ]
    labels = ("Fp1", "Cz", "ECG", "O2")
    write_edf(tmp_path / "in/s1/a.edf", signals, labels=labels, sampling_rate_hz=rates)
    convert(tmp_path / "in", tmp_path / "out")
    (row,) = recordings(tmp_path / "out")
    assert [channel["name"] for channel in row["channels"]] == ["Fp1", "O2"]
    assert {d["label"]: d["reason"] for d in row["dropped_channels"]} == {
        "ECG": "type ecg is not wanted",
        "Cz": "50 Hz; the others have 100 Hz",
    }


def test_other_channel_types_by_profile(tmp_path: Path, convert: Convert) -> None:
    write(tmp_path / "in/s1/a.edf", 1, labels=("Fp1", "ECG", "EOG left"))
    convert(tmp_path / "in", tmp_path / "out", overrides=["channel_types=[eeg, ecg]"])
    (row,) = recordings(tmp_path / "out")
    assert [(c["type"], c["unit"]) for c in row["channels"]] == [("eeg", "V"), ("ecg", "V")]


def test_channel_names_positions_and_reference(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    write(tmp_path / "in/s1/a.edf", 1, labels=("EEG FP1-REF", "EEG T3-REF", "EEG 3"))
    convert(tmp_path / "in", tmp_path / "out")
    (row,) = recordings(tmp_path / "out")
    assert [(c["name"], c["source"]) for c in row["channels"][:2]] == [
        ("Fp1", "EEG FP1-REF"),
        ("T7", "EEG T3-REF"),
    ]
    assert row["reference"] == "REF"
    x, y, _ = row["channels"][0]["position_m"]
    # Fp1 is left of the middle and in front.
    assert x < 0 < y < 0.12
    assert row["channels"][2]["position_m"] is None
    assert "position_unknown: 1 channels (EEG 3)" in row["notes"]
    meta = segments(tmp_path / "out")[0]["meta.json"]
    assert meta["channels"] == [dict(channel) for channel in row["channels"]]
    assert meta["position_frame"] == row["position_frame"]


def test_source_filters_are_recorded(tmp_path: Path, convert: Convert) -> None:
    write(tmp_path / "in/s1/a.edf", 1, prefiltering="HP:0.5Hz LP:30Hz")
    convert(tmp_path / "in", tmp_path / "out")
    (row,) = recordings(tmp_path / "out")
    assert (row["original_low_cut_hz"], row["original_high_cut_hz"]) == (0.5, 30.0)
    assert (row["low_cut_hz"], row["high_cut_hz"], row["notch_hz"]) == (0.1, None, [])


def test_notch_removes_the_line_and_its_harmonics(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    time_s = np.arange(0, 60, 1 / 256)
    waves = [20 * np.sin(2 * np.pi * f * time_s) for f in (10.0, 50.0, 100.0)]
    write_edf(tmp_path / "in/s1/a.edf", waves, labels=NAMES, sampling_rate_hz=256.0)
    convert(tmp_path / "in", tmp_path / "out", overrides=["notch_hz=50"])
    (row,) = recordings(tmp_path / "out")
    assert row["notch_hz"] == [50.0, 100.0]
    spread = segments(tmp_path / "out")[0]["values"][2560:-2560].std(axis=0)
    assert spread[0] == pytest.approx(20e-6 / np.sqrt(2), rel=1e-3)
    # MNE's stop bands are 40 dB deep.
    assert (spread[1:] < 0.02 * spread[0]).all()


@pytest.mark.parametrize("layout", ["subfolders", "flat"])
def test_plain_folder_of_any_layout(tmp_path: Path, convert: Convert, layout: Any) -> None:
    truth = write_folder_corpus(
        tmp_path / "in",
        num_subjects=4,
        duration_s=4,
        sampling_rate_hz=64,
        layout=layout,
        broken=True,
    )
    outcome = convert(tmp_path / "in", tmp_path / "out", overrides=["subject_ids=public"])
    by_subject: dict[str, set[str]] = {}
    for row in recordings(tmp_path / "out"):
        by_subject.setdefault(row["subject"], set()).add(row["split"])
    assert set(by_subject) == {one.subject for one in truth.recordings}
    assert all(len(splits) == 1 for splits in by_subject.values())
    assert [row.path for row in outcome.merged.quarantined] == [
        path.relative_to(truth.root).as_posix() for path in truth.broken
    ]
    assert not verify_shard_sets([tmp_path / "out"]).faults


def test_corpus_without_any_usable_recording_is_refused(tmp_path: Path, convert: Convert) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no EDF or BDF file among its 0 files"):
        convert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/s1").mkdir()
    (tmp_path / "in/s1/a.set").write_bytes(b"x")
    with pytest.raises(InputError, match=r"1 files were rejected .*EEGLAB is not read"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
