"""Quality in a conversion: figures of segments and channels, and segments that are left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physioscale.contract import open_shard_set
from physioscale.contract.verify import verify_shard_sets
from physioscale.signal.quality import QualityLimits, channel_figures, judge, segment_quality
from physioscale.testing import TEN_TWENTY_19, generate_eeg, ten_twenty_positions, write_edf
from physioscale_sharding.readers import EdfReader

Convert = Callable[..., Any]
Segments = Callable[[Path], list[dict[str, Any]]]

NAMES = TEN_TWENTY_19[:6]
RATE_HZ = 128
MINUTE = 60 * RATE_HZ


def eeg_uv(duration_s: float) -> Any:
    """Return (6, T) microvolts."""
    return generate_eeg(
        ten_twenty_positions(NAMES),
        duration_s=duration_s,
        sampling_rate_hz=RATE_HZ,
        seed=4,
        eyes_closed=True,
    )


def write(path: Path, signal_uv: Any, **options: Any) -> None:
    """Write an EDF file of the six channels."""
    facts: dict[str, Any] = {"labels": NAMES, "sampling_rate_hz": RATE_HZ}
    write_edf(path, signal_uv, **(facts | options))


def second_minute_dead(duration_s: float = 240.0) -> Any:
    """Return a recording of which five channels in six lie still from 60 to 120 s."""
    signal_uv = eeg_uv(duration_s)
    signal_uv[:5, MINUTE : 2 * MINUTE] = 3.0
    return signal_uv


def index_of(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the index in time order, quality as a mapping."""
    rows = open_shard_set(out).index.to_pylist()
    for row in rows:
        row["quality"] = {one["name"]: one["value"] for one in row["quality"]}
    return sorted(rows, key=lambda row: (row["recording"], row["segment"]))


def row_of(out: Path) -> dict[str, Any]:
    """Return the only row of the recordings, quality as a mapping."""
    (row,) = open_shard_set(out).recordings.to_pylist()
    row["quality"] = {one["name"]: one["values"] for one in row["quality"]}
    return dict(row)


def test_figures_are_those_of_the_sources_own_integers(tmp_path: Path, convert: Convert) -> None:
    signal_uv = eeg_uv(150.0)
    signal_uv[1] += 200 * np.sin(2 * np.pi * 50 * np.arange(signal_uv.shape[1]) / RATE_HZ)
    write(tmp_path / "in/s1/a.edf", signal_uv)
    # Neither a filter nor another rate shows in them.
    convert(
        tmp_path / "in",
        tmp_path / "out",
        overrides=["sampling_rate_hz=64", "max_sampling_rate_hz=null"],
    )
    header = EdfReader().read_header(tmp_path / "in/s1/a.edf")
    channels = header.streams[0].channels
    gain_v = np.array([channel.gain for channel in channels]) * 1e-6
    limits = QualityLimits()
    rows = index_of(tmp_path / "out")
    assert len(rows) == 3
    for row, (start, stop) in zip(rows, [(0, 60), (60, 120), (120, 150)], strict=True):
        digital = EdfReader().read_samples(
            header, channels, start=start * RATE_HZ, stop=stop * RATE_HZ
        )
        figures = channel_figures(digital, gain_v=gain_v, sampling_rate_hz=RATE_HZ, limits=limits)
        assert row["quality"] == segment_quality(figures, judge(figures, limits=limits))
        assert row["quality"]["line_channel_share"] == 1 / 6
    quality = row_of(tmp_path / "out")["quality"]
    assert set(quality) == {
        "flat",
        "marked_bad",
        "bad_share",
        "flat_share",
        "saturated_share",
        "line_share",
        "noise_uv",
        "amplitude_uv",
    }
    assert quality["bad_share"] == [0, 1, 0, 0, 0, 0]


def test_the_ends_of_the_converter_are_those_of_the_file(tmp_path: Path, convert: Convert) -> None:
    # Two levels only: saturated where they are the converter's ends, else a square wave.
    signal_uv = eeg_uv(60.0)
    square_uv = 100.0 * np.sign(np.sin(2 * np.pi * np.arange(MINUTE) / RATE_HZ + 0.1))
    signal_uv[1], signal_uv[4] = square_uv, square_uv
    ranges = [(-500.0, 500.0)] * 6
    ranges[1] = (-100.0, 100.0)
    write(tmp_path / "in/s1/a.edf", signal_uv, physical_range=ranges)
    convert(tmp_path / "in", tmp_path / "out")
    assert row_of(tmp_path / "out")["quality"]["saturated_share"] == [0, 1, 0, 0, 0, 0]


def test_unusable_segments_are_kept_and_marked_by_default(tmp_path: Path, convert: Convert) -> None:
    write(tmp_path / "in/s1/a.edf", second_minute_dead())
    convert(tmp_path / "in", tmp_path / "out")
    rows = index_of(tmp_path / "out")
    assert [row["quality"]["usable"] for row in rows] == [1, 0, 1, 1]
    assert [row["run"] for row in rows] == [0, 0, 0, 0]
    row = row_of(tmp_path / "out")
    assert row["quality"]["flat_share"] == [0.25] * 5 + [0]
    assert (
        "segments_unusable: 1 of 4 segments have too many bad channels; kept and marked"
        in row["notes"]
    )


def test_unusable_segments_are_left_out_where_the_profile_says_so(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    write(tmp_path / "in/s1/a.edf", second_minute_dead())
    convert(tmp_path / "in", tmp_path / "all", overrides=["coding=float32"])
    convert(
        tmp_path / "in",
        tmp_path / "out",
        overrides=["coding=float32", "quality_action=drop_segments"],
    )
    rows = index_of(tmp_path / "out")
    # What is left out is a gap: the rest is a run of its own, at its own time.
    assert [(row["segment"], row["run"], row["start_s"]) for row in rows] == [
        (0, 0, 0.0),
        (1, 1, 120.0),
        (2, 1, 180.0),
    ]
    row = row_of(tmp_path / "out")
    assert (row["num_segments"], row["num_runs"], row["duration_s"]) == (3, 2, 180.0)
    assert "segments_dropped: 1 of 4 segments have too many bad channels; left out" in row["notes"]
    # Figures of the recording are those of all that was read; so are the values of what is kept.
    everything = row_of(tmp_path / "all")
    assert row["quality"] == everything["quality"]
    assert row["statistics"] == everything["statistics"]
    kept = segments(tmp_path / "out")
    whole = segments(tmp_path / "all")
    for sample, other in zip(kept, [whole[0], *whole[2:]], strict=True):
        np.testing.assert_array_equal(sample["values"], other["values"])
    assert not verify_shard_sets([tmp_path / "out"]).faults


def test_a_dropped_segment_in_front_of_a_gap_makes_no_empty_run(
    tmp_path: Path, convert: Convert
) -> None:
    onsets = [float(n) for n in range(120)] + [150.0 + n for n in range(120)]
    write(tmp_path / "in/s1/a.edf", second_minute_dead(), kind="edf+d", record_onsets_s=onsets)
    convert(tmp_path / "in", tmp_path / "out", overrides=["quality_action=drop_segments"])
    rows = index_of(tmp_path / "out")
    assert [(row["run"], row["start_s"]) for row in rows] == [(0, 0.0), (1, 150.0), (1, 210.0)]
    assert not verify_shard_sets([tmp_path / "out"]).faults


def test_limits_come_from_the_profile(tmp_path: Path, convert: Convert) -> None:
    write(tmp_path / "in/s1/a.edf", second_minute_dead())
    overrides = ["quality.max_bad_channel_share=0.9", "quality_action=drop_segments"]
    convert(tmp_path / "in", tmp_path / "out", overrides=overrides)
    assert [row["quality"]["usable"] for row in index_of(tmp_path / "out")] == [1, 1, 1, 1]


def test_recording_without_a_usable_segment_is_quarantined(
    tmp_path: Path, convert: Convert
) -> None:
    signal_uv = eeg_uv(120.0)
    signal_uv[:5, : int(1.9 * MINUTE)] = 3.0
    write(tmp_path / "in/s1/dead.edf", signal_uv)
    write(tmp_path / "in/s1/sound.edf", eeg_uv(60.0))
    outcome = convert(tmp_path / "in", tmp_path / "out", overrides=["quality_action=drop_segments"])
    (lost,) = outcome.merged.quarantined
    assert lost.path == "s1/dead.edf"
    assert "none of 2 segments is usable by the profile's limits" in lost.error
    assert len(index_of(tmp_path / "out")) == 1


def test_channels_of_other_types_are_not_judged(tmp_path: Path, convert: Convert) -> None:
    # 1 mV of heart in the fourth channel would be an artefact among EEG.
    signal_uv = eeg_uv(60.0)
    signal_uv[3] *= 100
    labels = [*NAMES[:3], "ECG", *NAMES[4:]]
    write(tmp_path / "in/s1/a.edf", signal_uv, labels=labels)
    convert(tmp_path / "in", tmp_path / "out", overrides=["channel_types=[eeg, ecg]"])
    (row,) = index_of(tmp_path / "out")
    assert row["quality"]["bad_channel_share"] == 0
    quality = row_of(tmp_path / "out")["quality"]
    for name in ("bad_share", "flat_share", "noise_uv"):
        assert np.isnan(quality[name]).tolist() == [False, False, False, True, False, False]
    assert quality["flat"] == [0] * 6
    assert not verify_shard_sets([tmp_path / "out"]).faults


@pytest.mark.parametrize("profile", ["eeg-wide", "eeg-native"])
def test_recording_without_eeg_has_no_figures(
    tmp_path: Path, convert: Convert, profile: str
) -> None:
    labels = ["ECG", "EOG left", "EOG right", "ECG1", "ECG2", "EMG chin"]
    write(tmp_path / "in/s1/a.edf", eeg_uv(60.0), labels=labels)
    convert(
        tmp_path / "in",
        tmp_path / "out",
        profile=profile,
        overrides=["channel_types=[ecg, eog, emg]"],
    )
    (row,) = index_of(tmp_path / "out")
    assert row["quality"] == {}
    assert set(row_of(tmp_path / "out")["quality"]) == {"flat", "marked_bad"}
