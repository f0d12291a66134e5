"""The device twins give the offline result on windows cut out of a recording."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from physioscale.signal import (
    aligned_start,
    apply_fir,
    fir_kernel,
    margin_samples,
    notch_kernel,
    num_resampled,
    rational_ratio,
    resample,
    resample_margin_samples,
    resampling_kernel,
)
from physioscale.signal.device import apply_fir_torch, resample_torch

NUM_TIMES = 20_000
START, LENGTH = 7777, 5000
# What the project promises is 1e-4. Float32 rounds each input to 6e-8 of itself and the FFT adds a
# few such steps; the resampling kernel's tail that is left out adds less than 1e-6.
BOUND = 3e-6


def _signals(kind: str) -> np.ndarray:
    white = np.random.default_rng(4).standard_normal((3, NUM_TIMES))
    if kind == "white":
        return white
    spectrum = np.fft.rfft(white)
    spectrum /= np.maximum(np.arange(spectrum.shape[1]), 1.0) ** 0.6
    return np.asarray(np.fft.irfft(spectrum, NUM_TIMES))


def _relative(found: torch.Tensor, expected: np.ndarray) -> float:
    difference = found[0].double().numpy() - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def _window(signal: np.ndarray, start: int, length: int, margin: int) -> torch.Tensor:
    cut = signal[np.newaxis, :, start - margin : start + length + margin]
    return torch.from_numpy(cut).to(torch.float32)


KERNELS = {
    "high-pass 0.5 Hz at 500 Hz": lambda: fir_kernel(500.0, low_hz=0.5),
    "band-pass at 500 Hz": lambda: fir_kernel(500.0, low_hz=0.5, high_hz=99.5),
    "high-pass 0.1 Hz at 256 Hz": lambda: fir_kernel(256.0, low_hz=0.1),
    "low-pass at 200 Hz": lambda: fir_kernel(200.0, high_hz=40.0),
    "notch at 250 Hz": lambda: notch_kernel(250.0, line_hz=50.0),
}
RATES_HZ = [(500, 200), (512, 200), (256, 200), (1000, 200), (100, 200), (250, 256), (256, 250)]


@pytest.mark.parametrize("kind", ["white", "coloured"])
@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("kernel_type", [torch.float64, torch.float32])
def test_a_filtered_window_is_the_filtered_recording(
    kind: str, name: str, kernel_type: torch.dtype
) -> None:
    signal, kernel = _signals(kind), KERNELS[name]()
    window = _window(signal, START, LENGTH, margin_samples(kernel))
    found = apply_fir_torch(window, torch.from_numpy(kernel).to(kernel_type))
    assert (found.shape, found.dtype) == ((1, 3, LENGTH), torch.float32)
    expected = apply_fir(signal, kernel)[:, START : START + LENGTH]
    assert _relative(found, expected) < BOUND


@pytest.mark.parametrize("kind", ["white", "coloured"])
@pytest.mark.parametrize(("source_hz", "target_hz"), RATES_HZ)
@pytest.mark.parametrize("length", [LENGTH, 4999, 64, 1])
def test_a_resampled_window_is_the_resampled_recording(
    kind: str, source_hz: int, target_hz: int, length: int
) -> None:
    up, down = rational_ratio(source_hz, target_hz)
    signal = _signals(kind)
    start = aligned_start(START, up=up, down=down)
    window = _window(signal, start, length, resample_margin_samples(up=up, down=down))
    kernel = torch.from_numpy(resampling_kernel(up=up, down=down))
    found = resample_torch(window, kernel, up=up, down=down)
    first, num_out = start * up // down, num_resampled(length, up=up, down=down)
    assert (found.shape, found.dtype) == ((1, 3, num_out), torch.float32)
    whole = resample(signal, up=up, down=down)
    assert _relative(found, whole[:, first : first + num_out]) < BOUND


def test_filter_then_resample_loses_both_margins_and_nothing_else() -> None:
    up, down = rational_ratio(500, 200)
    signal, fir = _signals("coloured"), fir_kernel(500.0, low_hz=0.5)
    start = aligned_start(START, up=up, down=down)
    margin = margin_samples(fir) + resample_margin_samples(up=up, down=down)
    window = _window(signal, start, LENGTH, margin)
    filtered = apply_fir_torch(window, torch.from_numpy(fir))
    kernel = torch.from_numpy(resampling_kernel(up=up, down=down))
    found = resample_torch(filtered, kernel, up=up, down=down)
    whole = resample(apply_fir(signal, fir), up=up, down=down)
    first = start * up // down
    assert _relative(found, whole[:, first : first + found.shape[-1]]) < BOUND


def test_an_offset_a_hundred_times_the_signal_costs_only_its_own_digits() -> None:
    coloured = _signals("coloured")
    signal, kernel = coloured + 100.0 * coloured.std(), fir_kernel(500.0, low_hz=0.5)
    window = _window(signal, START, LENGTH, margin_samples(kernel))
    found = apply_fir_torch(window, torch.from_numpy(kernel))
    expected = apply_fir(signal, kernel)[:, START : START + LENGTH]
    # Float32 stores 100 to within 4e-6: what is left of the signal cannot be better than that.
    assert _relative(found, expected) < 1e-5


def test_samples_and_channels_of_a_batch_stay_apart() -> None:
    x = torch.from_numpy(np.random.default_rng(5).standard_normal((4, 2, 900))).float()
    fir = torch.from_numpy(fir_kernel(100.0, low_hz=1.0))
    kernel = torch.from_numpy(resampling_kernel(up=4, down=5))
    for one in range(4):
        alone = x[one : one + 1, 1:]
        torch.testing.assert_close(
            apply_fir_torch(x, fir)[one, 1], apply_fir_torch(alone, fir)[0, 0]
        )
        torch.testing.assert_close(
            resample_torch(x, kernel, up=4, down=5)[one, 1],
            resample_torch(alone, kernel, up=4, down=5)[0, 0],
        )


def test_autocast_does_not_lower_the_precision() -> None:
    signal, kernel = _signals("white"), fir_kernel(500.0, low_hz=0.5)
    window = _window(signal, START, LENGTH, margin_samples(kernel))
    resampling = torch.from_numpy(resampling_kernel(up=2, down=5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        filtered = apply_fir_torch(window, torch.from_numpy(kernel))
        resampled = resample_torch(window, resampling, up=2, down=5)
    assert filtered.dtype == resampled.dtype == torch.float32
    assert torch.equal(filtered, apply_fir_torch(window, torch.from_numpy(kernel)))
    assert torch.equal(resampled, resample_torch(window, resampling, up=2, down=5))


def test_no_value_is_ever_asked_back_from_the_device() -> None:
    # Tensors on "meta" have shapes and no values: reading one on the host raises.
    x = torch.empty(2, 3, 6000, device="meta")
    fir = torch.empty(3301, dtype=torch.float64, device="meta")
    assert apply_fir_torch(x, fir).shape == (2, 3, 2700)
    kernel = torch.from_numpy(resampling_kernel(up=25, down=64)).to("meta")
    num_out = num_resampled(6000 - 2 * resample_margin_samples(up=25, down=64), up=25, down=64)
    assert resample_torch(x, kernel, up=25, down=64).shape == (2, 3, num_out)


def test_the_twins_pass_gradients_through() -> None:
    x = torch.randn(1, 1, 300, dtype=torch.float64, requires_grad=True)
    fir = torch.from_numpy(fir_kernel(10.0, low_hz=1.0))
    kernel = torch.from_numpy(resampling_kernel(up=1, down=2))
    assert torch.autograd.gradcheck(
        lambda y: resample_torch(apply_fir_torch(y, fir), kernel, up=1, down=2), (x,)
    )


def test_equal_rates_change_nothing() -> None:
    x = torch.randn(1, 2, 10)
    assert torch.equal(resample_torch(x, torch.ones(1), up=1, down=1), x)


def test_shapes_and_types_that_cannot_be_meant_are_refused() -> None:
    kernel = torch.from_numpy(resampling_kernel(up=2, down=5))
    with pytest.raises(ValueError, match="T >= 171, margins included"):
        resample_torch(torch.zeros(1, 1, 170), kernel, up=2, down=5)
    with pytest.raises(ValueError, match="expected that of 1/5"):
        resample_torch(torch.zeros(1, 1, 900), kernel[1:-1], up=1, down=5)
    with pytest.raises(ValueError, match="T >= 9, margins included"):
        apply_fir_torch(torch.zeros(1, 1, 8), torch.ones(9))
    with pytest.raises(ValueError, match="K odd"):
        apply_fir_torch(torch.zeros(1, 1, 80), torch.ones(8))
    with pytest.raises(ValueError, match=r"expected \(B, C, T\)"):
        apply_fir_torch(torch.zeros(1, 80), torch.ones(9))
    with pytest.raises(TypeError, match="float32 or float64"):
        apply_fir_torch(torch.zeros(1, 1, 80, dtype=torch.bfloat16), torch.ones(9))


def test_the_numpy_half_does_not_load_torch_or_mne() -> None:
    code = (
        "import sys, physioscale.signal; print([m for m in ('torch', 'mne') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
