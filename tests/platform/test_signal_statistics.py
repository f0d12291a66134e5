"""Band statistics against filtering in time, robust spread against its definition."""

import numpy as np
import pytest

from physioscale.signal import apply_fir, band_statistics, fir_kernel, robust_std
from physioscale.testing import generate_eeg, spread_positions


def _circular(row: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve with the row repeated on both sides: the definition, without any FFT."""
    turns = -(-len(kernel) // len(row))
    repeated = np.tile(row, 2 * turns + 1)
    same = np.convolve(repeated, kernel, mode="same")
    return same[turns * len(row) : (turns + 1) * len(row)]


# 331 taps: signals of one sample, shorter than the kernel, odd, even and prime lengths.
@pytest.mark.parametrize("num_times", [1, 2, 100, 331, 1000, 1009])
def test_each_band_has_the_moments_of_the_circular_filter(num_times: int) -> None:
    signal = 5.0 + np.random.default_rng(0).standard_normal((3, num_times))
    kernels = {
        "raw": None,
        "high": fir_kernel(100.0, low_hz=1.0),
        "low": fir_kernel(50.0, high_hz=4),
    }
    found = band_statistics(signal, kernels=kernels)
    assert list(found) == ["raw", "high", "low"]
    for name, kernel in kernels.items():
        filtered = (
            signal if kernel is None else np.stack([_circular(row, kernel) for row in signal])
        )
        np.testing.assert_allclose(found[name].mean, filtered.mean(axis=1), rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[name].std, filtered.std(axis=1), rtol=0, atol=1e-12)


def test_a_long_recording_has_the_moments_of_the_filter_with_edges() -> None:
    signal = generate_eeg(
        spread_positions(4), duration_s=120.0, sampling_rate_hz=200.0, seed=0, eyes_closed=False
    )
    kernel = fir_kernel(200.0, low_hz=0.5, high_hz=90.0)
    found = band_statistics(signal, kernels={"band": kernel})["band"]
    filtered = apply_fir(signal, kernel)
    # The kernel is 6.6 s of 120 s: a twentieth of the recording could differ, in practice far less.
    np.testing.assert_allclose(found.std, filtered.std(axis=1), rtol=0.01)


def test_an_offset_does_not_drown_the_deviation() -> None:
    signal = np.random.default_rng(1).standard_normal((1, 4096))
    kernels = {"high": fir_kernel(200.0, low_hz=0.5)}
    plain = band_statistics(signal, kernels=kernels)["high"].std
    lifted = band_statistics(signal + 1e5, kernels=kernels)["high"].std
    np.testing.assert_allclose(lifted, plain, rtol=1e-9)


def test_robust_std_is_that_of_a_gaussian_and_ignores_a_few_spikes() -> None:
    signal = 3.0 * np.random.default_rng(2).standard_normal((2, 100_000)) + 7.0
    clean = robust_std(signal)
    # The standard error of 1.4826 MAD is 1.17 sd / sqrt(n) = 0.011.
    np.testing.assert_allclose(clean, 3.0, atol=5 * 0.011)
    signal[:, ::1000] = 1e6
    np.testing.assert_allclose(robust_std(signal), clean, rtol=0.005)


def test_flat_channels_and_single_samples_have_no_spread() -> None:
    flat = np.full((2, 50), 4.0)
    assert robust_std(flat).tolist() == [0.0, 0.0]
    assert robust_std(flat[:, :1]).tolist() == [0.0, 0.0]
    statistics = band_statistics(flat, kernels={"raw": None, "high": fir_kernel(50.0, low_hz=1.0)})
    assert statistics["raw"].mean.tolist() == [4.0, 4.0]
    assert statistics["raw"].std.tolist() == [0.0, 0.0]
    assert statistics["high"].std.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(statistics["high"].mean, 0.0, atol=1e-9)


def test_signals_without_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="1 samples or more"):
        band_statistics(np.empty((2, 0)), kernels={"raw": None})
    with pytest.raises(ValueError, match="1 samples or more"):
        robust_std(np.empty((2, 0)))
