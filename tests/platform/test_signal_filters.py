"""FIR filters equal MNE's, at every length, and refuse cut-offs that make no filter."""

from itertools import pairwise

import mne
import numpy as np
import pytest

from physioscale.errors import InputError
from physioscale.signal import (
    apply_fir,
    convolve_valid,
    extend_edges,
    fir_kernel,
    margin_samples,
    notch_kernel,
)
from physioscale.testing import generate_eeg, spread_positions

BANDS = [(0.5, None), (None, 40.0), (0.5, 99.5)]


def _eeg(num_channels: int, num_times: int, rate_hz: float) -> np.ndarray:
    signal = generate_eeg(
        spread_positions(num_channels),
        duration_s=num_times / rate_hz,
        sampling_rate_hz=rate_hz,
        seed=num_times,
        eyes_closed=True,
    )
    # An offset shows whether the edges are continued as MNE continues them.
    return signal + 300.0


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.sqrt((expected**2).mean()))


# 3301 taps at 500 Hz for 0.5 Hz: lengths of one sample, two, below and about the kernel's half and
# whole, and several blocks of 2^14.
@pytest.mark.parametrize("num_times", [1, 2, 700, 1651, 3300, 3301, 40_001])
@pytest.mark.parametrize(("low_hz", "high_hz"), BANDS)
def test_the_result_is_mne_filter_data(
    num_times: int, low_hz: float | None, high_hz: float | None
) -> None:
    signal = _eeg(2, num_times, 500.0)
    found = apply_fir(signal, fir_kernel(500.0, low_hz=low_hz, high_hz=high_hz))
    expected = mne.filter.filter_data(
        signal, 500.0, low_hz, high_hz, phase="zero", pad="reflect_limited", verbose="error"
    )
    assert _relative(found, expected) < 1e-10


@pytest.mark.parametrize("rate_hz", [250.0, 256.0, 512.0, 1000.0, 1024.0])
def test_kernels_of_other_rates_are_mnes_too(rate_hz: float) -> None:
    signal = _eeg(1, int(10 * rate_hz), rate_hz)
    found = apply_fir(signal, fir_kernel(rate_hz, low_hz=0.5, high_hz=99.5))
    expected = mne.filter.filter_data(signal, rate_hz, 0.5, 99.5, verbose="error")
    assert _relative(found, expected) < 1e-10


@pytest.mark.parametrize(("rate_hz", "line_hz", "harmonics"), [(500, 50, 4), (256, 60, 2)])
def test_the_notch_is_mne_notch_filter(rate_hz: float, line_hz: float, harmonics: int) -> None:
    signal = _eeg(2, 5000, rate_hz)
    freqs = line_hz * np.arange(1, harmonics + 1)
    expected = mne.filter.notch_filter(signal, rate_hz, freqs, verbose="error")
    for kernel in (
        notch_kernel(rate_hz, line_hz=line_hz),
        notch_kernel(rate_hz, line_hz=line_hz, num_harmonics=harmonics),
    ):
        assert _relative(apply_fir(signal, kernel), expected) < 1e-10
    only_first = notch_kernel(rate_hz, line_hz=line_hz, num_harmonics=1)
    expected = mne.filter.notch_filter(signal, rate_hz, line_hz, verbose="error")
    assert _relative(apply_fir(signal, only_first), expected) < 1e-10


def test_more_channels_than_are_done_at_once_stay_apart() -> None:
    signal = _eeg(19, 2000, 200.0)
    kernel = fir_kernel(200.0, low_hz=1.0)
    together = apply_fir(signal, kernel)
    for channel in (0, 7, 8, 18):
        alone = apply_fir(signal[channel : channel + 1], kernel)[0]
        np.testing.assert_allclose(together[channel], alone, rtol=0, atol=1e-10)


def test_a_kernel_that_is_not_symmetric_is_convolved_not_correlated() -> None:
    rng = np.random.default_rng(0)
    signal, kernel = rng.standard_normal((2, 50)), rng.standard_normal(7)
    expected = [np.convolve(row, kernel, mode="valid") for row in signal]
    np.testing.assert_allclose(convolve_valid(signal, kernel), expected, rtol=0, atol=1e-12)


def test_blocks_cut_with_margins_join_to_the_whole() -> None:
    signal, kernel = _eeg(2, 6000, 200.0), fir_kernel(200.0, low_hz=1.0, high_hz=40.0)
    margin = margin_samples(kernel)
    whole = apply_fir(signal, kernel)
    extended = extend_edges(signal, margin)
    cuts = [0, 1, 2500, 6000]
    parts = [
        convolve_valid(extended[:, start : stop + 2 * margin], kernel)
        for start, stop in pairwise(cuts)
    ]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-10)


def test_the_edge_rule_is_point_reflection_then_zeros() -> None:
    extended = extend_edges(np.array([[1.0, 2.0, 4.0]]), 4)
    # Reflected about the ends 1 and 4: 2 * 1 - 2 = 0 and 2 * 4 - 2 = 6; two samples, no more.
    assert extended.tolist() == [[0, 0, -2, 0, 1, 2, 4, 6, 7, 0, 0]]
    assert extend_edges(np.array([[5.0]]), 1).tolist() == [[0, 5, 0]]


def test_the_input_is_left_alone_and_empty_signals_stay_empty() -> None:
    signal = _eeg(1, 100, 100.0)
    before = signal.copy()
    apply_fir(signal, fir_kernel(100.0, low_hz=1.0))
    assert np.array_equal(signal, before)
    assert apply_fir(np.empty((0, 100)), fir_kernel(100.0, low_hz=1.0)).shape == (0, 100)


@pytest.mark.parametrize(
    ("low_hz", "high_hz"),
    [(None, None), (0.0, 40.0), (-1.0, None), (40.0, 40.0), (50.0, 40.0), (None, 125.0)],
)
def test_cut_offs_that_make_no_filter_are_refused(
    low_hz: float | None, high_hz: float | None
) -> None:
    with pytest.raises(InputError, match=r"filter at 250 Hz: .*expected 0 < low_hz < high_hz"):
        fir_kernel(250.0, low_hz=low_hz, high_hz=high_hz)


@pytest.mark.parametrize(("line_hz", "num_harmonics"), [(50.0, 3), (50.0, 0), (130.0, None)])
def test_notches_that_do_not_fit_are_refused(line_hz: float, num_harmonics: int | None) -> None:
    with pytest.raises(InputError, match=r"notch at 250 Hz: .*between 0 and 125 Hz"):
        notch_kernel(250.0, line_hz=line_hz, num_harmonics=num_harmonics)


def test_shapes_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="K odd"):
        apply_fir(np.zeros((1, 10)), np.ones(4))
    with pytest.raises(ValueError, match=r"\(10,\); expected \(channels, samples\)"):
        apply_fir(np.zeros(10), np.ones(3))
    with pytest.raises(ValueError, match="8 samples or more"):
        convolve_valid(np.zeros((1, 7)), np.ones(9))
    with pytest.raises(TypeError, match="float32; expected float64"):
        convolve_valid(np.zeros((1, 70), dtype=np.float32), np.ones(9))
