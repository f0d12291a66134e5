"""Synthetic EEG has the structure it promises, and corpora are what their truth says."""

import csv
import hashlib
from functools import partial
from pathlib import Path
from typing import Literal

import mne
import numpy as np
import pytest
from scipy.signal import welch

from physioscale.testing import (
    TEN_TWENTY_19,
    CorpusTruth,
    generate_eeg,
    spread_positions,
    ten_twenty_positions,
    write_bids_corpus,
    write_folder_corpus,
)


def _power(signal: np.ndarray, low_hz: float, high_hz: float, *, rate_hz: float) -> np.ndarray:
    frequency, density = welch(signal, rate_hz, nperseg=int(2 * rate_hz))
    inside = (frequency >= low_hz) & (frequency <= high_hz)
    power: np.ndarray = density[:, inside].mean(axis=1)
    return power


def _hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def eeg() -> dict[bool, np.ndarray]:
    return {
        closed: generate_eeg(
            ten_twenty_positions(),
            duration_s=30.0,
            sampling_rate_hz=200.0,
            seed=3,
            eyes_closed=closed,
        )
        for closed in (True, False)
    }


def test_positions_lie_on_the_sphere_left_right_front_and_back() -> None:
    positions = dict(zip(TEN_TWENTY_19, ten_twenty_positions(), strict=True))
    for place in positions.values():
        assert np.linalg.norm(place) == pytest.approx(1.0)
    assert positions["T7"][0] == pytest.approx(-1)
    assert positions["Cz"][2] == pytest.approx(1)
    assert positions["Fp1"][1] > 0.9 > -0.9 > positions["O1"][1]
    for left, right in (("Fp1", "Fp2"), ("F3", "F4"), ("P7", "P8"), ("O1", "O2")):
        np.testing.assert_allclose(positions[left] * (-1, 1, 1), positions[right], atol=1e-12)
    spread = spread_positions(64)
    distance = np.linalg.norm(spread[:, None] - spread[None], axis=-1) + 9 * np.eye(64)
    # 64 points on 3/4 of the unit sphere: a square grid would put them 0.38 apart.
    assert distance.min() > 0.2
    with pytest.raises(ValueError, match="no 10-20 electrode 'A1'"):
        ten_twenty_positions(["Cz", "A1"])


def test_a_channel_is_predictable_from_the_others(eeg: dict[bool, np.ndarray]) -> None:
    signal = eeg[True]
    for channel in range(len(signal)):
        others = np.delete(signal, channel, axis=0)
        weights = np.linalg.lstsq(others.T, signal[channel], rcond=None)[0]
        error = (signal[channel] - weights @ others).var() / signal[channel].var()
        assert error < 0.1


def test_the_background_falls_with_frequency(eeg: dict[bool, np.ndarray]) -> None:
    low = _power(eeg[True], 1.0, 4.0, rate_hz=200.0)
    high = _power(eeg[True], 30.0, 45.0, rate_hz=200.0)
    assert (low > 5 * high).all()
    assert 5 < eeg[True].std() < 50


def test_alpha_tells_eyes_closed_from_open_at_the_back(eeg: dict[bool, np.ndarray]) -> None:
    closed, opened = (_power(eeg[state], 9.0, 11.0, rate_hz=200.0) for state in (True, False))
    back = [TEN_TWENTY_19.index(name) for name in ("O1", "O2", "Pz")]
    assert (closed[back] > 3 * opened[back]).all()
    assert closed[TEN_TWENTY_19.index("Fp1")] < 0.2 * closed[TEN_TWENTY_19.index("O1")]


def test_blinks_stand_at_the_front_with_eyes_open_only(eeg: dict[bool, np.ndarray]) -> None:
    front = TEN_TWENTY_19.index("Fp1")
    assert eeg[False][front].max() > 80
    assert eeg[True][front].max() < 70


def test_line_noise_stands_at_its_frequency(eeg: dict[bool, np.ndarray]) -> None:
    line = _power(eeg[True], 49.9, 50.1, rate_hz=200.0)
    beside = _power(eeg[True], 44.0, 47.0, rate_hz=200.0)
    assert np.median(line / beside) > 3


def test_one_sample_and_one_channel_can_be_generated() -> None:
    generate = partial(generate_eeg, sampling_rate_hz=100.0, seed=0, eyes_closed=False)
    assert generate(spread_positions(1), duration_s=0.01).shape == (1, 1)
    with pytest.raises(ValueError, match="hold no sample"):
        generate(spread_positions(1), duration_s=0.0)


@pytest.fixture(scope="module")
def bids(tmp_path_factory: pytest.TempPathFactory) -> CorpusTruth:
    root = tmp_path_factory.mktemp("bids")
    return write_bids_corpus(
        root, num_subjects=2, duration_s=12.0, sampling_rate_hz=100.0, broken=True
    )


def test_a_bids_corpus_is_what_its_truth_says(bids: CorpusTruth) -> None:
    assert [(one.subject, one.task) for one in bids.recordings] == [
        ("01", "eyesopen"),
        ("01", "eyesclosed"),
        ("02", "eyesopen"),
        ("02", "eyesclosed"),
    ]
    for recording in bids.recordings:
        raw = mne.io.read_raw_edf(recording.path, verbose="error")
        assert tuple(raw.ch_names) == recording.channel_names
        assert raw.n_times == recording.num_samples == 1200
        assert raw.info["sfreq"] == recording.sampling_rate_hz
        stem = str(recording.path).removesuffix("_eeg.edf")
        with Path(f"{stem}_events.tsv").open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert [(float(row["onset"]), float(row["duration"])) for row in rows] == [
            (event.onset_s, event.duration_s) for event in recording.events
        ]
        assert sum(event.duration_s for event in recording.events) == 12.0
        assert {row["trial_type"] for row in rows} == {event.label for event in recording.events}
    with (bids.root / "participants.tsv").open(newline="") as file:
        people = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert sorted(people) == ["sub-01", "sub-02", "sub-03"]
    first = bids.recordings[0]
    assert (int(people["sub-01"]["age"]), people["sub-01"]["sex"]) == (first.age, first.sex)


def test_the_broken_file_is_apart_from_the_sound_ones(bids: CorpusTruth) -> None:
    (broken,) = bids.broken
    assert "sub-03" in broken.name
    assert broken.stat().st_size < 256 * 20
    assert broken not in [one.path for one in bids.recordings]


def test_a_seed_fixes_the_bytes_and_the_subjects(tmp_path: Path, bids: CorpusTruth) -> None:
    write = partial(write_bids_corpus, duration_s=12.0, sampling_rate_hz=100.0)
    write(tmp_path / "same", num_subjects=2, broken=True)
    write(tmp_path / "fewer", num_subjects=1)
    write(tmp_path / "other", num_subjects=1, seed=1)
    assert _hashes(tmp_path / "same") == _hashes(bids.root)
    first = "sub-01/eeg/sub-01_task-eyesopen_eeg.edf"
    assert _hashes(tmp_path / "fewer")[first] == _hashes(bids.root)[first]
    assert _hashes(tmp_path / "other")[first] != _hashes(bids.root)[first]


@pytest.mark.parametrize("layout", ["subfolders", "flat"])
def test_a_plain_folder_names_its_subjects(
    tmp_path: Path, layout: Literal["subfolders", "flat"]
) -> None:
    truth = write_folder_corpus(
        tmp_path,
        num_subjects=2,
        duration_s=2.0,
        sampling_rate_hz=100.0,
        channel_names=["Cz"],
        layout=layout,
        broken=True,
    )
    assert all(one.path.is_file() and one.subject in str(one.path) for one in truth.recordings)
    edf_files = set(tmp_path.rglob("*.edf"))
    assert edf_files == {one.path for one in truth.recordings} | set(truth.broken)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == {"subfolders": 3, "flat": 0}[layout]
    assert (tmp_path / "labels.csv").exists() == (layout == "flat")
    if layout == "flat":
        with (tmp_path / "labels.csv").open(newline="") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
        assert sorted(rows) == sorted(path.name for path in edf_files)
        for one in truth.recordings:
            row = rows[one.path.name]
            assert (row["subject"], row["task"]) == (one.subject, one.task)
            assert (int(row["age"]), row["sex"]) == (one.age, one.sex)
