"""Resampling keeps time, band and offset; ratios are exact or refused."""

import mne
import numpy as np
import pytest

from physioscale.errors import InputError
from physioscale.signal import (
    aligned_start,
    decimation_for,
    extend_edges,
    num_resampled,
    rational_ratio,
    resample,
    resample_margin_samples,
    resample_valid,
    resampling_kernel,
)
from physioscale.testing import generate_eeg, spread_positions

SOURCE_RATES_HZ = [250, 256, 500, 512, 1000, 1024]
TARGET_HZ = 200
TONE_HZ = 40.0


def _tone(rate_hz: int, duration_s: int) -> np.ndarray:
    return np.sin(2 * np.pi * TONE_HZ * np.arange(duration_s * rate_hz) / rate_hz)


def _shifts_s(resampled: np.ndarray) -> np.ndarray:
    """Return how late the tone is in each quarter of the resampled signal, one second cut off."""
    time_s = np.arange(len(resampled)) / TARGET_HZ
    turned = 1j * resampled * np.exp(-2j * np.pi * TONE_HZ * time_s)
    quarters = np.array_split(turned[TARGET_HZ:-TARGET_HZ], 4)
    phases_rad = np.array([np.angle(quarter.mean()) for quarter in quarters])
    return -phases_rad / (2 * np.pi * TONE_HZ)


@pytest.mark.parametrize("source_hz", SOURCE_RATES_HZ)
def test_a_tone_comes_out_with_no_time_shift(source_hz: int) -> None:
    up, down = rational_ratio(source_hz, TARGET_HZ)
    found = resample(_tone(source_hz, 60)[np.newaxis], up=up, down=down)[0]
    expected = _tone(TARGET_HZ, 60)
    assert found.shape == expected.shape
    assert np.abs(_shifts_s(found)).max() < 1e-8
    # The pass band may be off by 1e-5 and images stand below 1e-5.
    assert np.abs(found - expected)[TARGET_HZ:-TARGET_HZ].max() < 2e-5


@pytest.mark.parametrize("source_hz", [250, 500, 1000])
def test_mne_with_its_default_padding_is_no_reference(source_hz: int) -> None:
    # Padded to a power of two, which is no whole number of outputs, it stretches the recording.
    found = mne.filter.resample(_tone(source_hz, 60), up=TARGET_HZ, down=source_hz, npad="auto")
    assert np.abs(_shifts_s(found)).max() > 1e-4


@pytest.mark.parametrize("source_hz", SOURCE_RATES_HZ)
@pytest.mark.parametrize("kind", ["eeg", "white"])
def test_the_band_equals_mne_with_exact_padding(source_hz: int, kind: str) -> None:
    duration_s = 20
    if kind == "white":
        signal = np.random.default_rng(0).standard_normal((2, duration_s * source_hz))
    else:
        signal = generate_eeg(
            spread_positions(2),
            duration_s=duration_s,
            sampling_rate_hz=source_hz,
            seed=1,
            eyes_closed=True,
        )
    up, down = rational_ratio(source_hz, TARGET_HZ)
    found = resample(signal, up=up, down=down)
    # Padding by whole periods of the ratio keeps MNE's output on the exact grid.
    expected = mne.filter.resample(
        signal, up=TARGET_HZ, down=source_hz, npad=40 * down, pad="reflect_limited", verbose="error"
    )
    inner = slice(2 * TARGET_HZ, -2 * TARGET_HZ)
    taper = np.hanning(found[:, inner].shape[1])
    difference = np.fft.rfft((found - expected)[:, inner] * taper)
    reference = np.fft.rfft(expected[:, inner] * taper)
    frequency = np.fft.rfftfreq(len(taper), 1 / TARGET_HZ)
    band = (frequency >= 1) & (frequency <= 90)
    relative = np.linalg.norm(difference[:, band]) / np.linalg.norm(reference[:, band])
    # Reached: 1.6e-6 (EEG) and 2.5e-6 (white); the kernel is specified to 1e-5.
    assert relative < 1e-5


@pytest.mark.parametrize(("up", "down"), [(4, 5), (25, 32), (25, 128), (1, 5), (2, 1), (128, 125)])
def test_the_kernel_keeps_its_bounds(up: int, down: int) -> None:
    kernel = resampling_kernel(up=up, down=down)
    num_bins = 1 << 20
    response = np.abs(np.fft.rfft(kernel, num_bins)) / up
    # In units of the lower of the two Nyquist frequencies.
    frequency = np.arange(len(response)) / num_bins * 2 * max(up, down)
    assert np.abs(response[frequency <= 0.9] - 1).max() < 1e-5
    assert response[frequency >= 1.1].max() < 1e-5
    assert response[np.argmin(np.abs(frequency - 1))] == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(kernel, kernel[::-1], rtol=0, atol=1e-15)
    for phase in range(up):
        assert kernel[phase::up].sum() == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize(("up", "down"), [(4, 5), (25, 64), (1, 3), (5, 2), (1, 1)])
@pytest.mark.parametrize("num_times", [1, 2, 30, 777])
def test_every_output_is_the_full_sum_at_its_position(up: int, down: int, num_times: int) -> None:
    signal = np.random.default_rng(2).standard_normal((2, num_times))
    found = resample(signal, up=up, down=down)
    assert found.shape == (2, -(-num_times * up // down))
    margin = resample_margin_samples(up=up, down=down)
    kernel = resampling_kernel(up=up, down=down)
    extended = extend_edges(signal, margin)
    stuffed = np.zeros((2, extended.shape[1] * up))
    stuffed[:, ::up] = extended
    half = len(kernel) // 2
    filtered = np.stack([np.convolve(row, kernel) for row in stuffed])[:, half + margin * up :]
    expected = filtered[:, : num_times * up : down]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("up", "down"), [(4, 5), (25, 64), (1, 5), (5, 2)])
def test_a_constant_stays_that_constant(up: int, down: int) -> None:
    # 100 mV of electrode offset in uV: a hundredth of an LSB of 10 uV EEG is allowed to it.
    found = resample(np.full((1, 2000), 1e5), up=up, down=down)
    assert np.abs(found - 1e5).max() < 1e-8


def test_a_window_cut_at_an_aligned_start_equals_the_recording() -> None:
    up, down = 25, 64
    signal = np.random.default_rng(3).standard_normal((2, 5000))
    whole = resample(signal, up=up, down=down)
    margin = resample_margin_samples(up=up, down=down)
    start = aligned_start(1999, up=up, down=down)
    assert (start, start * up % down) == (1984, 0)
    window = signal[:, start - margin : start + 1000 + margin]
    found = resample_valid(window, resampling_kernel(up=up, down=down), up=up, down=down)
    first = start * up // down
    assert found.shape[1] == num_resampled(1000, up=up, down=down) == 391
    np.testing.assert_allclose(found, whole[:, first : first + 391], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("source_hz", "target_hz", "expected"),
    [
        (250, 200, (4, 5)),
        (512.0, 200.0, (25, 64)),
        (200, 200, (1, 1)),
        (100, 256, (64, 25)),
        (256 / 0.9, 256, (9, 10)),
        (99.8004, 99.8004, (1, 1)),
        (0.5, 0.4, (4, 5)),
    ],
)
def test_ratios_are_exact(source_hz: float, target_hz: float, expected: tuple[int, int]) -> None:
    assert rational_ratio(source_hz, target_hz) == expected


@pytest.mark.parametrize("source_hz", [173.61, 199.99999, 200 * 2**0.5])
def test_a_ratio_without_small_terms_is_refused(source_hz: float) -> None:
    with pytest.raises(InputError, match="whole numbers up to 4096"):
        rational_ratio(source_hz, 200.0)


@pytest.mark.parametrize("rate_hz", [0.0, -250.0, float("nan"), float("inf")])
def test_a_rate_that_is_not_positive_is_refused(rate_hz: float) -> None:
    with pytest.raises(InputError, match=r"sampling rate: .*expected a positive rate"):
        rational_ratio(rate_hz, 200.0)
    with pytest.raises(InputError, match=r"highest rate: .*expected a positive rate"):
        decimation_for(200.0, max_rate_hz=rate_hz)


@pytest.mark.parametrize(
    ("rate_hz", "factor"),
    [(250, 1), (512, 1), (512.5, 2), (1000, 2), (1024, 2), (2048, 4), (5000, 10)],
)
def test_decimation_is_the_smallest_that_suffices(rate_hz: float, factor: int) -> None:
    assert decimation_for(rate_hz, max_rate_hz=512) == factor


def test_shapes_and_terms_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="without a common factor"):
        resample(np.zeros((1, 10)), up=2, down=4)
    with pytest.raises(ValueError, match="up 0 and down 5"):
        resample(np.zeros((1, 10)), up=0, down=5)
    with pytest.raises(ValueError, match=r"\(channels, 86 samples or more\)"):
        resample_valid(np.zeros((1, 10)), resampling_kernel(up=4, down=5), up=4, down=5)
    with pytest.raises(ValueError, match="expected that of 2/5"):
        resample_valid(np.zeros((1, 999)), resampling_kernel(up=1, down=2), up=2, down=5)
