"""Real EEG in EDF and BDF: each file is converted, with the values that MNE reads, or quarantined
with the reason written here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest

from physioscale.contract import block_crc32, open_shard_set
from physioscale.contract.verify import verify_shard_sets

pytestmark = pytest.mark.realdata

Convert = Callable[..., Any]
Segments = Callable[[Path], list[dict[str, Any]]]

EACH_FILE_A_SUBJECT = r"(?P<subject>[^/]+)\.[a-z]+$"
DEFINITION = """
name: biosemi
title: recordings with BioSemi's own labels
modality: eeg
layout: folder
cap: biosemi128
public_subject_ids: true
licence: none
access: none
"""


def sound(out: Path, found: list[dict[str, Any]]) -> bool:
    """Return whether the set verifies, and its checksums hold as plain webdataset reads it."""
    checked = [
        np.array_equal(block_crc32(sample["signal.npy"].tobytes()), sample["crc.npy"])
        for sample in found
    ]
    return bool(checked) and all(checked) and not verify_shard_sets([out]).faults


def rows_by_source(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of recordings.parquet by their source."""
    return {row["source"]: row for row in open_shard_set(out).recordings.to_pylist()}


def is_equal(values: Any, expected: Any, *, steps: Any) -> bool:
    """Return whether (T, C) values are what MNE gives, to what coding and float32 allow.

    Half a step, 0.004 of one for coding in float32; and for the pass five times its 3e-7 of the
    root mean square, and three roundings (FFT, gain, result) of the largest value in float32.
    """
    one_pass = 5 * 3e-7 * expected.std(axis=0) + 3 * 2**-24 * np.abs(expected).max(axis=0)
    return bool((np.abs(values - expected) <= 0.504 * steps + one_pass).all())


def values_of(found: list[dict[str, Any]], recording: str) -> Any:
    """Return a recording's values (T, C) and its largest step (C,)."""
    own = [sample for sample in found if sample["meta.json"]["recording"] == recording]
    steps = np.array([sample["meta.json"]["scale"] for sample in own])
    return np.concatenate([sample["values"] for sample in own]), steps.max(axis=0)


def read_with_mne(path: Path, labels: list[str]) -> Any:
    """Return MNE's values (C, T) in volts, and the rate."""
    with mne.utils.use_log_level("error"):
        read = mne.io.read_raw_bdf if path.suffix == ".bdf" else mne.io.read_raw_edf
        raw = read(path, include=labels, preload=True, encoding="latin-1")
    return raw.get_data(picks=labels), raw.info["sfreq"]


def source_labels(row: dict[str, Any]) -> list[str]:
    """Return the labels in the file of a row's channels."""
    return [channel["source"] or channel["name"] for channel in row["channels"]]


def test_eegmat_has_the_values_of_mne(
    tmp_path: Path, realdata: Path, convert: Convert, segments: Segments
) -> None:
    root, out = realdata / "eeg/eegmat", tmp_path / "out"
    outcome = convert(root, out, definition="eegmat")
    found, rows = segments(out), rows_by_source(out)
    assert sound(out, found)
    assert not outcome.merged.quarantined
    assert {name: facts.subjects for name, facts in outcome.info.splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    assert set(rows) == {path.name for path in root.glob("*.edf")}
    for name in ("Subject00_1.edf", "Subject06_2.edf"):
        row = rows[name]
        assert row["task"] == {"1": "rest", "2": "arithmetic"}[name[-5]]
        assert len(row["channels"]) == 20
        assert {d["label"]: d["reason"] for d in row["dropped_channels"]} == {
            "ECG ECG": "type ecg is not wanted"
        }
        source_v, rate_hz = read_with_mne(root / name, source_labels(row))
        expected = mne.filter.filter_data(source_v, rate_hz, 0.1, None, verbose="error").T
        values, steps = values_of(found, row["recording"])
        assert is_equal(values, expected, steps=steps)


def test_eegmat_native_is_lossless(
    tmp_path: Path, realdata: Path, convert: Convert, segments: Segments
) -> None:
    root, out = realdata / "eeg/bids_eegmat_mini", tmp_path / "out"
    convert(root, out, definition="bids", profile="eeg-native", overrides=["subject_ids=public"])
    found, rows = segments(out), rows_by_source(out)
    assert sound(out, found)
    assert {row["subject"] for row in rows.values()} == {"03", "06"}
    for source, row in rows.items():
        source_v, _ = read_with_mne(root / source, source_labels(row))
        values, steps = values_of(found, row["recording"])
        # MNE scales by another order of operations; a wrong integer would differ by a step.
        assert (np.abs(values - source_v.T) <= 1e-6 * steps).all()


def test_same_recordings_in_eegmat_and_its_bids_copy(
    tmp_path: Path, realdata: Path, convert: Convert
) -> None:
    hashes = []
    for name, definition in (("eegmat", "eegmat"), ("bids_eegmat_mini", "bids")):
        convert(realdata / "eeg" / name, tmp_path / name, definition=definition)
        table = open_shard_set(tmp_path / name).recordings
        hashes.append(set(table["content_sha256"].to_pylist()))
    plain, copies = hashes
    assert (len(plain), len(copies)) == (8, 2)
    assert copies < plain


def test_edf_and_bdf_of_biosemi(
    tmp_path: Path, realdata: Path, convert: Convert, segments: Segments
) -> None:
    (tmp_path / "biosemi.yaml").write_text(DEFINITION)
    root, out = realdata / "eeg/edf_bdf", tmp_path / "out"
    outcome = convert(
        root, out, definition=str(tmp_path / "biosemi.yaml"), pattern=EACH_FILE_A_SUBJECT
    )
    found, rows = segments(out), rows_by_source(out)
    assert sound(out, found)
    assert not outcome.merged.quarantined
    facts = {
        name: (row["source_format"], len(row["channels"]), row["sampling_rate_hz"])
        for name, row in rows.items()
    }
    # 2048 Hz is divided by four; the plain BDF names its electrodes, the others an amplifier's
    # outputs, of which the cap has 64.
    assert facts == {
        "mne_test_24bit.bdf": ("BDF+C", 64, 512.0),
        "test.bdf": ("BDF", 66, 512.0),
        "test.edf": ("EDF+C", 64, 512.0),
    }
    # An offset of -0.26 V and a second of signal: the filter may not turn it into a step.
    values, _ = values_of(found, rows["test.bdf"]["recording"])
    assert np.abs(values).max() < 5e-3


def test_device_labels_without_a_cap_are_quarantined(
    tmp_path: Path, realdata: Path, convert: Convert
) -> None:
    outcome = convert(realdata / "eeg/edf_bdf", tmp_path / "out", pattern=EACH_FILE_A_SUBJECT)
    lost = {row.path: row.error for row in outcome.merged.quarantined}
    assert set(lost) == {"mne_test_24bit.bdf", "test.edf"}
    assert all("a device's own label; name the cap" in error for error in lost.values())


def test_sleep_edf(tmp_path: Path, realdata: Path, convert: Convert, segments: Segments) -> None:
    root, out = realdata / "eeg/sleep_edf_short", tmp_path / "out"
    outcome = convert(root, out, pattern=EACH_FILE_A_SUBJECT, overrides=["subject_ids=public"])
    found, rows = segments(out), rows_by_source(out)
    assert sound(out, found)
    (lost,) = outcome.merged.quarantined
    assert (lost.path, lost.reason) == ("SC4001EC-Hypnogram.edf", "annotations only, no signal")
    assert set(rows) == {"SC4001E0_first5min_PSG.edf", "SC4001E0_first5min_PSG.bdf"}
    for name, row in rows.items():
        assert [channel["name"] for channel in row["channels"]] == ["Fpz-Cz", "Pz-Oz"]
        assert (row["sampling_rate_hz"], row["duration_s"]) == (100.0, 300.0)
        assert len(row["dropped_channels"]) == 5
        source_v, _ = read_with_mne(root / name, source_labels(row))
        expected = mne.filter.filter_data(source_v, 100.0, 0.1, None, verbose="error").T
        values, steps = values_of(found, row["recording"])
        assert is_equal(values, expected, steps=steps)


def test_eegmmidb_keeps_its_overlapping_events(
    tmp_path: Path, realdata: Path, convert: Convert, segments: Segments
) -> None:
    root, out = realdata / "eeg/eegmmidb", tmp_path / "out"
    convert(root, out, definition="eegmmidb", pattern=EACH_FILE_A_SUBJECT)
    assert sound(out, segments(out))
    (row,) = open_shard_set(out).recordings.to_pylist()
    assert (len(row["channels"]), row["sampling_rate_hz"], row["duration_s"]) == (64, 128.0, 124.0)
    labels = [event["label"] for event in row["events"]]
    assert {label: labels.count(label) for label in set(labels)} == {"T0": 19, "T1": 10, "T2": 9}
    assert not any(note.startswith("texts_withheld") for note in row["notes"])


def test_odd_files_have_their_verdict(
    tmp_path: Path, realdata: Path, convert: Convert, segments: Segments
) -> None:
    (tmp_path / "biosemi.yaml").write_text(DEFINITION)
    out = tmp_path / "out"
    outcome = convert(
        realdata / "eeg/odd",
        out,
        definition=str(tmp_path / "biosemi.yaml"),
        pattern=EACH_FILE_A_SUBJECT,
    )
    assert sound(out, segments(out))
    rows = {source.split("/")[0]: row for source, row in rows_by_source(out).items()}
    lost = {row.path.split("/")[0]: row.error for row in outcome.merged.quarantined}
    assert set(rows) == {"edf_duplicate_labels", "edf_mixed_rates", "edf_plus_d"}
    # Two channels share a label: the first is kept, the second dropped with the reason.
    duplicate = rows["edf_duplicate_labels"]
    assert [channel["name"] for channel in duplicate["channels"]] == ["F1", "F2"]
    assert [d["reason"] for d in duplicate["dropped_channels"]] == [
        "the same name as 'EEG F1-Ref', which is kept"
    ]
    # Ten rates: the EEG channels at the highest of theirs are kept.
    mixed = rows["edf_mixed_rates"]
    assert mixed["sampling_rate_hz"] == 512.0
    slower = [d for d in mixed["dropped_channels"] if "the others have 512 Hz" in d["reason"]]
    assert len(mixed["channels"]) + len(slower) == 64
    # Nihon Kohden's EDF+D: its record onsets leave no gap, so it is one run; DC and mark channels
    # are no EEG.
    discontinuous = rows["edf_plus_d"]
    assert (discontinuous["source_format"], discontinuous["num_runs"]) == ("EDF+D", 1)
    assert not {"POL E", "POL X1"} & set(source_labels(discontinuous))
    assert max(discontinuous["statistics"][0]["std"]) < 1e-3
    # A test generator's labels are no electrodes; BrainVision is not read yet.
    assert set(lost) == {"edf_utf8_annotations", "tiny_bids_not_brain"}
    assert "type unknown" in lost["edf_utf8_annotations"]
    assert "BrainVision is not read" in lost["tiny_bids_not_brain"]
