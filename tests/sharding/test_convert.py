"""A conversion from EDF files to what plain webdataset reads: values, cuts, gaps, losses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.contract import open_shard_set
from physioscale.contract.verify import verify_shard_sets
from physioscale.testing import (
    TEN_TWENTY_19,
    generate_eeg,
    patch_header,
    ten_twenty_positions,
    truncate,
    write_edf,
)

Convert = Callable[..., Any]
Segments = Callable[[Path], list[dict[str, Any]]]

NAMES = TEN_TWENTY_19[:4]
RATE_HZ = 128.0


def eeg_uv(duration_s: float, *, names: tuple[str, ...] = NAMES, rate_hz: float = RATE_HZ) -> Any:
    """Return (C, T) microvolts."""
    return generate_eeg(
        ten_twenty_positions(names),
        duration_s=duration_s,
        sampling_rate_hz=rate_hz,
        seed=3,
        eyes_closed=True,
    )


def write(path: Path, signal_uv: NDArray[np.float64], **options: Any) -> NDArray[np.float64]:
    """Write an EDF file and return its values in volts, (C, T)."""
    facts: dict[str, Any] = {"labels": NAMES[: len(signal_uv)], "sampling_rate_hz": RATE_HZ}
    recovered = write_edf(path, signal_uv, **(facts | options))
    return np.asarray(np.array(recovered) * 1e-6)


def joined(found: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the values of consecutive segments, (T, C)."""
    return np.concatenate([sample["values"] for sample in found])


def tolerance(found: list[dict[str, Any]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error (T, C) that is allowed: of the coding, and of one pass in float32.

    The coding rounds to half a step of each segment and works in float32, which adds 0.004 of one.
    The pass is off by 3e-7 of the root mean square, here taken five times, and by three
    roundings (FFT, gain, result) of the largest value in float32.
    """
    scale = [np.tile(sample["meta.json"]["scale"], (len(sample["values"]), 1)) for sample in found]
    is_int16 = [np.full((len(s["values"]), 1), s["meta.json"]["dtype"] == "int16") for s in found]
    steps = np.concatenate(scale) * np.concatenate(is_int16)
    one_pass = 5 * 3e-7 * values.std(axis=0) + 3 * 2**-24 * np.abs(values).max(axis=0)
    return np.asarray(0.504 * steps + one_pass)


def only_row(out: Path) -> dict[str, Any]:
    """Return the single row of recordings.parquet."""
    (row,) = open_shard_set(out).recordings.to_pylist()
    return dict(row)


def test_values_equal_mne_within_half_a_step(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    source_v = write(tmp_path / "in/s1/a.edf", eeg_uv(150.0))
    convert(tmp_path / "in", tmp_path / "out")
    found = segments(tmp_path / "out")
    expected = mne.filter.filter_data(source_v, RATE_HZ, 0.1, None, verbose="error").T
    values = joined(found)
    assert values.shape == expected.shape
    assert (np.abs(values - expected) <= tolerance(found, expected)).all()


def test_steps_use_the_range_of_each_segment(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    signal_uv = eeg_uv(90.0)
    signal_uv[:, int(60 * RATE_HZ) :] *= 4
    write(tmp_path / "in/s1/a.edf", signal_uv)
    convert(tmp_path / "in", tmp_path / "out")
    found = segments(tmp_path / "out")
    for sample in found:
        stored = sample["signal.npy"]
        assert stored.dtype == np.int16
        assert np.abs(stored.astype(int)).max(axis=0).tolist() == [32767] * 4
    first, last = (np.array(sample["meta.json"]["scale"]) for sample in found)
    assert (last > 2 * first).all()


@pytest.mark.parametrize("deviations", [280, 340])
def test_no_step_is_above_one_percent_of_the_robust_deviation(
    tmp_path: Path, convert: Convert, segments: Segments, deviations: float
) -> None:
    # Three minutes, of which a third is ten times as loud: most of it rules the deviation.
    signal_uv = np.random.default_rng(5).normal(0, 10, (3, int(180 * RATE_HZ)))
    signal_uv[:, : int(60 * RATE_HZ)] *= 10
    robust_uv = 1.4826 * np.median(np.abs(signal_uv), axis=1)
    signal_uv[1, int(150 * RATE_HZ)] = deviations * robust_uv[1]
    write(tmp_path / "in/s1/a.edf", signal_uv)
    convert(tmp_path / "in", tmp_path / "out", overrides=["low_cut_hz=null"])
    found = segments(tmp_path / "out")
    # 327 deviations would just fit 32767 steps of 1 %; a tenth is kept back.
    last = "int16" if deviations < 290 else "float32"
    assert [sample["meta.json"]["dtype"] for sample in found] == ["int16", "int16", last]
    for sample in found:
        steps = np.array(sample["meta.json"]["scale"]) * (sample["meta.json"]["dtype"] == "int16")
        assert (steps <= 0.01 * robust_uv * 1e-6).all()


def test_artefact_beyond_16_bits_makes_its_segment_float32(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    signal_uv = eeg_uv(180.0)
    # 50 mV in 10 uV EEG: 5000 deviations, where 327 fit.
    signal_uv[1, int(70 * RATE_HZ)] = 50_000.0
    source_v = write(tmp_path / "in/s1/a.edf", signal_uv)
    outcome = convert(tmp_path / "in", tmp_path / "out")
    found = segments(tmp_path / "out")
    assert [sample["meta.json"]["dtype"] for sample in found] == ["int16", "float32", "int16"]
    assert outcome.merged.num_float32 == 1
    assert (
        "float32_segments: 1 of 3 segments are stored as float32"
        in only_row(tmp_path / "out")["notes"]
    )
    expected = mne.filter.filter_data(source_v, RATE_HZ, 0.1, None, verbose="error").T
    assert (np.abs(joined(found) - expected) <= tolerance(found, expected)).all()


def test_rate_above_512_hz_is_divided_by_the_smallest_whole_number(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    # 10 Hz in one channel and 300 Hz, above the new Nyquist frequency, in the other.
    time_s = np.arange(40 * 1100) / 1100.0
    signal_uv = 50 * np.stack([np.sin(2 * np.pi * f * time_s) for f in (10.0, 300.0)])
    write(tmp_path / "in/s1/a.edf", signal_uv, sampling_rate_hz=1100.0)
    convert(tmp_path / "in", tmp_path / "out", overrides=["low_cut_hz=null"])
    row = only_row(tmp_path / "out")
    assert (row["sampling_rate_hz"], row["original_sampling_rate_hz"]) == (1100 / 3, 1100.0)
    values = joined(segments(tmp_path / "out"))
    expected = 50e-6 * np.sin(2 * np.pi * 10.0 * np.arange(len(values)) * 3 / 1100.0)
    inner = slice(200, -200)
    assert np.abs(values[inner, 0] - expected[inner]).max() < 0.5 * 50e-6 * 0.01 * 1.5
    assert np.abs(values[inner, 1]).max() < 50e-6 * 1e-4


def test_reve_profile_filters_as_published(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    source_v = write(tmp_path / "in/s1/a.edf", eeg_uv(62.0, rate_hz=400.0), sampling_rate_hz=400.0)
    convert(tmp_path / "in", tmp_path / "out", profile="reve")
    row = only_row(tmp_path / "out")
    assert (row["sampling_rate_hz"], row["low_cut_hz"], row["high_cut_hz"]) == (200.0, 0.5, 99.5)
    filtered = mne.filter.filter_data(source_v, 400.0, 0.5, 99.5, verbose="error")
    # Padding by whole output samples: MNE's default shifts the result at some rates.
    expected = mne.filter.resample(filtered, down=2, npad=80, pad="reflect_limited")
    error = joined(segments(tmp_path / "out")).T - expected
    # Near 100 Hz the two anti-alias filters differ; the band of interest ends at 90 Hz.
    inside = mne.filter.filter_data(error, 200.0, 1.0, 85.0, h_trans_bandwidth=5, verbose="error")
    inner = slice(400, -400)
    assert (inside[:, inner].std(axis=1) < 1e-4 * expected[:, inner].std(axis=1)).all()


def test_reve_profile_refuses_to_upsample(tmp_path: Path, convert: Convert) -> None:
    write(tmp_path / "in/s1/slow.edf", eeg_uv(10.0))
    write(tmp_path / "in/s1/fast.edf", eeg_uv(10.0, rate_hz=256.0), sampling_rate_hz=256.0)
    outcome = convert(tmp_path / "in", tmp_path / "out", profile="reve")
    (lost,) = outcome.merged.quarantined
    assert lost.path == "s1/slow.edf"
    assert "a sampling rate of 128 Hz; expected the profile's 200 Hz or more" in lost.error


def test_upsampling_where_the_profile_says_so(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    time_s = np.arange(20 * 128) / 128.0
    write(tmp_path / "in/s1/a.edf", 50 * np.sin(2 * np.pi * 10.0 * time_s)[np.newaxis])
    convert(tmp_path / "in", tmp_path / "out", profile="reve", overrides=["upsample=true"])
    row = only_row(tmp_path / "out")
    assert (row["sampling_rate_hz"], row["original_sampling_rate_hz"]) == (200.0, 128.0)
    assert row["high_cut_hz"] is None
    assert "low_pass_left_out: 99.5 Hz is not below half the rate, 64 Hz" in row["notes"]
    values = joined(segments(tmp_path / "out"))
    assert len(values) == 4000
    expected = 50e-6 * np.sin(2 * np.pi * 10.0 * np.arange(4000) / 200.0)
    inner = slice(800, -800)
    # The robust deviation of a sine is 1.4826 / sqrt(2) of its amplitude.
    step = 0.01 * 1.4826 / np.sqrt(2) * 50e-6
    # Half a step, and the pass-band ripple of MNE's Hamming window (0.02 dB).
    assert np.abs(values[inner, 0] - expected[inner]).max() < 0.5 * step + 0.0023 * 50e-6


def test_native_profile_keeps_the_integers(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    # The second channel's header inverts the polarity: its gain is negative.
    source_v = write(
        tmp_path / "in/s1/a.edf",
        eeg_uv(61.0)[:2],
        physical_range=(-300.0, 300.0),
    )
    for field, text in (("physical_min", "300"), ("physical_max", "-300")):
        patch_header(tmp_path / "in/s1/a.edf", field, text=text, channel=1)
    convert(tmp_path / "in", tmp_path / "out", profile="eeg-native")
    found = segments(tmp_path / "out")
    assert {sample["meta.json"]["dtype"] for sample in found} == {"int16"}
    gain_v = 600e-6 / 65535
    np.testing.assert_allclose(found[0]["meta.json"]["scale"], gain_v, rtol=1e-12)
    values = joined(found)
    np.testing.assert_allclose(values[:, 0], source_v[0], atol=1e-6 * gain_v)
    np.testing.assert_allclose(values[:, 1], -source_v[1], atol=1e-6 * gain_v)


def test_native_profile_keeps_24_bits_without_loss(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    # BioSemi: steps of 31.25 nV, an offset of 200 mV; a ramp in the third minute spans 50 mV.
    signal_uv = eeg_uv(180.0)[:1] + 200_000.0
    signal_uv[:, int(120 * RATE_HZ) :] += np.linspace(0, 50_000, int(60 * RATE_HZ))
    source_v = write(
        tmp_path / "in/s1/a.bdf",
        signal_uv,
        kind="bdf",
        physical_range=(-262144.0, 262143.97),
    )
    convert(tmp_path / "in", tmp_path / "out", profile="eeg-native")
    found = segments(tmp_path / "out")
    assert [sample["meta.json"]["dtype"] for sample in found] == ["int16", "int16", "float32"]
    whole = joined(found[:2])
    np.testing.assert_allclose(whole, source_v.T[: len(whole)], atol=31.25e-9 * 1e-4)
    np.testing.assert_allclose(found[2]["values"], source_v.T[len(whole) :], rtol=2**-24)


def test_offset_of_a_short_recording_is_taken_off(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    write(tmp_path / "in/s1/a.edf", eeg_uv(2.0) + 100_000.0)
    convert(tmp_path / "in", tmp_path / "out")
    assert np.abs(joined(segments(tmp_path / "out"))).max() < 1e-3
    assert any(
        note.startswith("shorter_than_filter") for note in only_row(tmp_path / "out")["notes"]
    )


@pytest.mark.parametrize(
    ("duration_s", "lengths_s", "rest"),
    [
        (60.0, [60], False),
        (61.0, [60, 1], False),
        (119.5, [60, 59.5], False),
        (60.5, [60], True),
        (1.0, [1], False),
    ],
)
def test_segments_of_a_run(
    tmp_path: Path,
    convert: Convert,
    segments: Segments,
    duration_s: float,
    lengths_s: list[float],
    rest: bool,
) -> None:
    write(tmp_path / "in/s1/a.edf", eeg_uv(duration_s), record_duration_s=0.5)
    convert(tmp_path / "in", tmp_path / "out")
    found = [sample["meta.json"] for sample in segments(tmp_path / "out")]
    assert [meta["num_times"] / RATE_HZ for meta in found] == lengths_s
    assert [meta["start_sample"] / RATE_HZ for meta in found] == [
        60.0 * n for n in range(len(found))
    ]
    notes = only_row(tmp_path / "out")["notes"]
    assert any("together 0.500 s" in note for note in notes) == rest


def test_last_segment_one_sample_short(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    samples = int(120 * RATE_HZ) - 1
    write(
        tmp_path / "in/s1/a.edf",
        eeg_uv(120.0)[:, :samples],
        record_duration_s=samples / RATE_HZ,
    )
    convert(tmp_path / "in", tmp_path / "out")
    lengths = [sample["meta.json"]["num_times"] for sample in segments(tmp_path / "out")]
    assert lengths == [int(60 * RATE_HZ), int(60 * RATE_HZ) - 1]


def test_segments_and_filters_stop_at_a_gap(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    # 90 records of a second, a gap of 10.25 s after the 70th.
    onsets = [float(n) for n in range(70)] + [80.25 + n for n in range(20)]
    source_v = write(tmp_path / "in/s1/a.edf", eeg_uv(90.0), kind="edf+d", record_onsets_s=onsets)
    convert(tmp_path / "in", tmp_path / "out")
    found = [sample["meta.json"] for sample in segments(tmp_path / "out")]
    assert [
        (meta["run"], meta["start_sample"] / RATE_HZ, meta["num_times"] / RATE_HZ) for meta in found
    ] == [
        (0, 0.0, 60.0),
        (0, 60.0, 10.0),
        (1, 80.25, 20.0),
    ]
    cut = int(70 * RATE_HZ)
    expected = np.concatenate(
        [
            mne.filter.filter_data(run, RATE_HZ, 0.1, None, verbose="error")
            for run in (source_v[:, :cut], source_v[:, cut:])
        ],
        axis=1,
    ).T
    values = joined(segments(tmp_path / "out"))
    assert (np.abs(values - expected) <= tolerance(segments(tmp_path / "out"), expected)).all()
    assert only_row(tmp_path / "out")["num_runs"] == 2


def test_runs_too_short_for_a_segment_leave_no_hole_in_the_numbers(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    # Records of half a second: the middle run is one record, too short for a segment.
    onsets = [0.0, 0.5, 1.0, 5.0, 9.0, 9.5, 10.0]
    write(
        tmp_path / "in/s1/a.edf",
        eeg_uv(3.5),
        kind="edf+d",
        record_onsets_s=onsets,
        record_duration_s=0.5,
    )
    convert(tmp_path / "in", tmp_path / "out")
    found = [sample["meta.json"] for sample in segments(tmp_path / "out")]
    assert [(meta["run"], meta["start_sample"] / RATE_HZ) for meta in found] == [(0, 0.0), (1, 9.0)]
    assert not verify_shard_sets([tmp_path / "out"]).faults


def test_one_channel(tmp_path: Path, convert: Convert, segments: Segments) -> None:
    write(tmp_path / "in/s1/a.edf", eeg_uv(5.0)[:1])
    convert(tmp_path / "in", tmp_path / "out")
    assert [sample["values"].shape for sample in segments(tmp_path / "out")] == [(640, 1)]


def test_flat_channel_is_kept_and_marked(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    signal_uv = eeg_uv(70.0)
    signal_uv[2] = 7.0
    signal_uv[3, : int(60 * RATE_HZ)] = 0.0
    write(tmp_path / "in/s1/a.edf", signal_uv)
    convert(tmp_path / "in", tmp_path / "out")
    quality = {item["name"]: item["values"] for item in only_row(tmp_path / "out")["quality"]}
    assert quality["flat"] == [0.0, 0.0, 1.0, 0.0]
    index = open_shard_set(tmp_path / "out").index.to_pylist()
    flat = [{one["name"]: one["value"] for one in row["quality"]} for row in index]
    assert [figures["flat_channel_share"] for figures in flat] == [0.5, 0.25]
    assert np.abs(joined(segments(tmp_path / "out"))[:, 2]).max() < 1e-9


def test_statistics_are_those_of_the_whole_recording(tmp_path: Path, convert: Convert) -> None:
    # Two runs of unequal length and level; unfiltered, so that the reference is plain numpy.
    onsets = [float(n) for n in range(30)] + [40.0 + n for n in range(10)]
    signal_uv = eeg_uv(40.0)
    signal_uv[:, int(30 * RATE_HZ) :] += 25.0
    source_v = write(tmp_path / "in/s1/a.edf", signal_uv, kind="edf+d", record_onsets_s=onsets)
    convert(tmp_path / "in", tmp_path / "out", profile="eeg-native")
    statistics = {one["band"]: one for one in only_row(tmp_path / "out")["statistics"]}
    spread_v = source_v.std(axis=1)
    # One pass adds in float32: 1e-6 of the deviation.
    assert (np.abs(statistics["native"]["mean"] - source_v.mean(axis=1)) < 1e-6 * spread_v).all()
    np.testing.assert_allclose(statistics["native"]["std"], spread_v, rtol=1e-6)
    assert (statistics["reve"]["low_hz"], statistics["reve"]["high_hz"]) == (0.5, 99.5)
    cut = int(30 * RATE_HZ)
    for band, low_hz in (("wide", 0.1), ("reve", 0.5)):
        runs = [source_v[:, :cut], source_v[:, cut:]]
        filtered = [mne.filter.filter_data(r, RATE_HZ, low_hz, None, verbose="error") for r in runs]
        pooled = np.concatenate(filtered, axis=1)
        # At the ends of a run the source is continued, here of 30 s and 10 s only.
        np.testing.assert_allclose(statistics[band]["std"], pooled.std(axis=1), rtol=0.02)
    assert any(
        note == "band_up_to_nyquist: 'reve' ends at 99.5 Hz; the recording ends at 64 Hz"
        for note in only_row(tmp_path / "out")["notes"]
    )


@pytest.fixture
def with_losses(tmp_path: Path) -> Path:
    """Return a corpus of one sound recording and one of each fault."""
    root = tmp_path / "in"
    write(root / "s1/sound.edf", eeg_uv(5.0))
    write(root / "s1/flat.edf", np.full((2, 640), 3.0))
    write(root / "s1/short.edf", eeg_uv(0.5), record_duration_s=0.5)
    write(root / "s1/other.edf", eeg_uv(5.0), labels=["ECG", "Resp", "SaO2", "Foo"])
    write(root / "s1/unit.edf", eeg_uv(5.0), units="")
    write(root / "s1/truncated.edf", eeg_uv(5.0))
    truncate(root / "s1/truncated.edf", keep_share=0.5)
    (root / "s1/empty.edf").write_bytes(b"")
    (root / "s1/text.edf").write_text("no EDF at all")
    return root


def test_bad_files_are_quarantined_and_neighbours_kept(
    tmp_path: Path, with_losses: Path, convert: Convert, segments: Segments
) -> None:
    outcome = convert(with_losses, tmp_path / "out", overrides=["subject_ids=public"])
    assert len(segments(tmp_path / "out")) == 1
    assert outcome.info.quarantined == 7
    lines = (tmp_path / "out/quarantine.jsonl").read_text().splitlines()
    rows = {row["path"]: row for row in map(json.loads, lines)}
    found = {path.split("/")[1].split(".")[0]: row["reason"] for path, row in rows.items()}
    assert found == {
        "empty": "the file is empty (N bytes)",
        "flat": "all N channels are flat",
        "other": "no eeg channel is left of N (N x type ecg is not wanted; N x type resp is not "
        "wanted; N x type misc is not wanted; N x type unknown: no electrode site or channel type "
        "in it)",
        "short": "N gap-free runs, the longest of N s",
        "text": "begins with '...', so it is not EDF or BDF",
        "truncated": "truncated: N whole data records",
        "unit": "no eeg channel is left of N (N x unit '...' is not known to be V)",
    }
    assert {path: row["stage"] for path, row in rows.items() if "flat" in path} == {
        "s1/flat.edf": "signal"
    }
    assert all(str(tmp_path) not in row["error"] for row in rows.values())
    assert not verify_shard_sets([tmp_path / "out"]).faults


def test_unforeseen_fault_is_quarantined_without_its_text(
    tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in/s1/a.edf", eeg_uv(5.0))
    write(tmp_path / "in/s1/b.edf", eeg_uv(6.0))

    def broken(*arguments: Any, **options: Any) -> Any:
        raise KeyError("Jane Doe")

    monkeypatch.setattr("physioscale_sharding.process.gather_events", broken)
    outcome = convert(tmp_path / "in", tmp_path / "out")
    assert outcome.info is None
    assert len(outcome.merged.quarantined) == 2
    for row in outcome.merged.quarantined:
        assert row.reason.startswith("unforeseen KeyError in process.py:")
    assert "Jane" not in (tmp_path / "out/quarantine.jsonl").read_text()
    assert not (tmp_path / "out/dataset.json").exists()
