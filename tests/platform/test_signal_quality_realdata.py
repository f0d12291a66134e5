"""What the quality figures say of real recordings, each verdict with its reason."""

import re
from collections.abc import Iterator
from pathlib import Path

import edfio
import numpy as np
import pytest

from physioscale.signal.quality import (
    ChannelFigures,
    QualityLimits,
    Verdict,
    channel_figures,
    judge,
)

pytestmark = pytest.mark.realdata
LIMITS = QualityLimits()
V_PER_UNIT = {"uV": 1e-6, "mV": 1e-3, "V": 1.0}
EEGMAT = [
    f"eegmat/Subject{subject}_{run}.edf" for subject in ("00", "01", "03", "06") for run in "12"
]
SCALP_BIOSEMI = "[A-H][0-9]+"


def segments(
    path: Path, labels: str, *, rate_hz: float | None = None
) -> Iterator[tuple[ChannelFigures, Verdict]]:
    """Yield figures and verdict of each 60 s of the channels whose label matches."""
    recording = edfio.read_bdf(path) if path.suffix == ".bdf" else edfio.read_edf(path)
    signals = [
        signal
        for signal in recording.signals
        if re.fullmatch(labels, signal.label) and rate_hz in (None, signal.sampling_frequency)
    ]
    (rate,) = {signal.sampling_frequency for signal in signals}
    digital = np.stack([signal.digital for signal in signals])
    gain = [
        (signal.physical_max - signal.physical_min)
        / (signal.digital_max - signal.digital_min)
        * V_PER_UNIT[signal.physical_dimension]
        for signal in signals
    ]
    length = round(60.0 * rate)
    for start in range(0, digital.shape[1], length):
        figures = channel_figures(
            digital[:, start : start + length],
            gain_v=np.array(gain),
            sampling_rate_hz=rate,
            limits=LIMITS,
            lowest=np.array([signal.digital_min for signal in signals]),
            highest=np.array([signal.digital_max for signal in signals]),
        )
        yield figures, judge(figures, limits=LIMITS)


@pytest.mark.parametrize("name", EEGMAT)
def test_cleaned_eeg_is_clean_until_its_padded_end(realdata: Path, name: str) -> None:
    # Cleaned by hand and by ICA, 0.5 to 45 Hz. The last 2 s are no EEG: the ring of a filter, zeros
    # and another constant.
    *whole, (_, end) = segments(realdata / "eeg" / name, "EEG .*")
    assert len(whole) == (3 if name.endswith("_1.edf") else 1)
    for _, verdict in whole:
        assert not verdict.bad.any()
        assert verdict.usable
    assert end.flat.all()
    assert not end.usable


def test_motor_imagery_is_clean_until_its_padded_end(realdata: Path) -> None:
    path = realdata / "eeg/eegmmidb/test_edf_overlapping_annotations.edf"
    *whole, (figures, end) = segments(path, ".*")
    assert [verdict.bad.any() for _, verdict in whole] == [False, False]
    # 4 s are left, and the last half second of them is zero in all 64 channels.
    assert figures.flat_share.tolist() == [0.125] * 64
    assert not end.usable


def test_sleep_eeg_is_clean_in_both_formats(realdata: Path) -> None:
    folder = realdata / "eeg/sleep_edf_short"
    as_edf, as_bdf = (
        list(segments(folder / f"SC4001E0_first5min_PSG.{suffix}", "EEG .*"))
        for suffix in ("edf", "bdf")
    )
    assert len(as_edf) == len(as_bdf) == 5
    for (edf, verdict), (bdf, _) in zip(as_edf, as_bdf, strict=True):
        assert not verdict.bad.any()
        # 50 Hz is the Nyquist frequency.
        assert edf.line_share is None
        assert edf.noise_uv is not None
        assert bdf.noise_uv is not None
        np.testing.assert_allclose(edf.noise_uv, bdf.noise_uv, rtol=1e-3)


@pytest.mark.parametrize("name", ["edf_bdf/test.edf", "edf_bdf/mne_test_24bit.bdf"])
def test_samples_beyond_the_declared_range_are_not_saturated(realdata: Path, name: str) -> None:
    # The header declares 0 to 100 and the samples go from -214 to 72: nothing stands at a rail.
    ((figures, verdict),) = segments(realdata / "eeg" / name, SCALP_BIOSEMI)
    assert len(verdict.bad) == 128
    assert not figures.saturated_share.any()
    assert not verdict.bad.any()


def test_one_noisy_electrode_of_a_raw_recording(realdata: Path) -> None:
    # 1 s, against the amplifier's own reference: F3 has 42 uV rms above 30 Hz.
    ((figures, verdict),) = segments(realdata / "eeg/edf_bdf/test.bdf", "(?!Status).*")
    assert verdict.noisy.sum() == verdict.bad.sum() == 1
    assert figures.noise_uv is not None
    assert figures.noise_uv[verdict.noisy][0] > 40.0


def test_a_recording_drowned_in_hum_is_line_dominated(realdata: Path) -> None:
    # 50 Hz holds 95 % of the power of every electrode, and 99 % of most.
    ((figures, verdict),) = segments(realdata / "eeg/odd/edf_plus_d/MB0400FU.edf", "EEG .*")
    assert verdict.line_dominated.all()
    assert figures.line_share is not None
    assert figures.line_share.min() > 0.95
    assert np.median(figures.line_share) > 0.99
    assert not verdict.usable


def test_low_amplitude_is_no_fault(realdata: Path) -> None:
    # 1 uV rms above 2 Hz.
    path = realdata / "eeg/odd/edf_duplicate_labels/duplicate_channel_labels.edf"
    ((_, verdict),) = segments(path, ".*")
    assert not verdict.bad.any()


def test_slow_channels_are_measured_as_far_as_they_can_be(realdata: Path) -> None:
    path = realdata / "eeg/odd/edf_mixed_rates/test_reduced.edf"
    for rate_hz in (1.0, 2.0, 4.0, 8.0, 16.0):
        ((figures, verdict),) = segments(path, SCALP_BIOSEMI, rate_hz=rate_hz)
        assert figures.amplitude_uv is None
        assert not verdict.bad.any()
    ((figures, verdict),) = segments(path, SCALP_BIOSEMI, rate_hz=512.0)
    assert not verdict.bad.any()
