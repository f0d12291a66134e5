"""Filtering and resampling of batches on any device: the twins of the offline functions.

In:  x (B, C, T) float32 or float64 with a margin of whole samples on both sides; kernels (K,), made
     by `fir_kernel`, `notch_kernel` or `resampling_kernel` and moved to the device once. Float64
     kernels are best: only their spectrum is rounded to the type of x.
Out: the same type, shorter by the margins; every value is the full sum of its kernel.

A window is cut from the stored recording with `margin_samples(kernel)` samples more on each side,
or `resample_margin_samples(up=, down=)` for a change of rate, or the sum of both for one after the
other; then the result equals the offline function on the whole recording, cut afterwards. A window
that is resampled must start at input sample `aligned_start(start, up=, down=)`.

Everything runs in Fourier space. FFTs keep float32's precision, where convolutions and matrix
products may silently be done in TF32, or in bfloat16 under autocast. Nothing waits for the device:
all sizes follow from shapes.

Letters: B batch, C channels, T samples, K kernel samples, M margin, F frequencies.
"""

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from physioscale.signal.resampling import (
    num_resampled,
    num_resampling_taps,
    resample_margin_samples,
)

# From 1.1 lower Nyquist frequencies on, the resampling kernel stays below 1e-5 and falls. Its tail
# beyond 1.5 is left out: that changes resampled white noise by less than 1e-6 of itself (measured).
_KEPT_NYQUISTS = 1.5


def apply_fir_torch(x: Tensor, kernel: Tensor) -> Tensor:
    """Return the filtered signal (B, C, T - (K - 1)), in phase with the input.

    Args:
        x: (B, C, T) float, M = (K - 1) / 2 samples of margin on both sides.
        kernel: (K,) float, K odd and not above T, on the same device.

    Raises:
        ValueError: a shape is not as above.
        TypeError: x is neither float32 nor float64.
    """
    num_taps = len(kernel)
    _check(x, kernel, least=num_taps)
    centred, mean = _without_mean(x)
    length = next_fast_len(x.shape[-1], real=True)
    response = torch.fft.rfft(kernel, length).to(centred.dtype.to_complex())  # (F,)
    spectrum = torch.fft.rfft(centred, length) * response  # (B, C, T) -> (B, C, F)
    # The first K - 1 samples of the periodic convolution are wrapped around.
    filtered: Tensor = torch.fft.irfft(spectrum, length)[..., num_taps - 1 : x.shape[-1]]
    return filtered + mean * kernel.sum().to(x.dtype)


def resample_torch(x: Tensor, kernel: Tensor, *, up: int, down: int) -> Tensor:
    """Return the signal (B, C, ceil((T - 2 * M) * up / down)) at `up / down` times its rate.

    Args:
        x: (B, C, T) float, M = `resample_margin_samples(up=up, down=down)` samples of margin on
            both sides. Output 0 lies on input sample M.
        kernel: (K,) float, `resampling_kernel(up=up, down=down)` on the same device.
        up, down: as for the kernel, without a common factor.

    Raises:
        ValueError: a shape is not as above.
        TypeError: x is neither float32 nor float64.
    """
    margin = resample_margin_samples(up=up, down=down)
    _check(x, kernel, least=2 * margin + 1)
    if len(kernel) != num_resampling_taps(up=up, down=down):
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}; expected that of {up}/{down}")
    num_out = num_resampled(x.shape[-1] - 2 * margin, up=up, down=down)
    if up == down:
        return x
    # `down` inputs give `up` outputs: with a whole number of such periods both ends have the same
    # frequencies, and only those that the kernel passes are touched.
    periods = next_fast_len(-(-x.shape[-1] // down), real=True)
    num_in, num_all = periods * down, periods * up
    kept = int(_KEPT_NYQUISTS * min(num_in, num_all) / 2) + 1
    centred, mean = _without_mean(x)
    response = _resampling_response(kernel, num_in * up, first=margin * up, kept=kept) / down
    spectrum = torch.fft.rfft(centred, num_in)  # (B, C, T) -> (B, C, num_in // 2 + 1)
    passed = _unfold(spectrum, num_in, kept) * response.to(spectrum.dtype)  # (B, C, kept)
    folded = _fold(passed, num_all)  # (B, C, num_all // 2 + 1)
    # The kernel passes a constant unchanged in every phase, so the mean is simply put back.
    resampled: Tensor = torch.fft.irfft(folded, num_all)[..., :num_out]
    return resampled + mean


def _check(x: Tensor, kernel: Tensor, *, least: int) -> None:
    if kernel.ndim != 1 or len(kernel) % 2 == 0:
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}; expected (K,) with K odd")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x is {x.dtype}; filters need float32 or float64")
    if x.ndim != 3 or x.shape[-1] < least:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; expected (B, C, T) with T >= {least}, margins included"
        )


def _without_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return (x - mean, mean (B, C, 1)): an offset would use up float32's digits in the FFT."""
    mean = x.mean(dim=-1, keepdim=True)
    return x - mean, mean


def _resampling_response(kernel: Tensor, length: int, *, first: int, kept: int) -> Tensor:
    """Return (kept,): the kernel's spectrum at the high rate, advanced to put `first` at 0."""
    padded = torch.nn.functional.pad(kernel, (0, length - len(kernel)))
    response: Tensor = torch.fft.rfft(padded.roll(-(first + (len(kernel) - 1) // 2)))
    return response[:kept]


def _unfold(spectrum: Tensor, length: int, kept: int) -> Tensor:
    """Return the first `kept` frequencies of a real signal's spectrum, past its Nyquist if asked.

    Zeros between samples repeat the spectrum: frequency k holds the conjugate of length - k.
    """
    if kept <= spectrum.shape[-1]:
        return spectrum[..., :kept]
    mirrored = spectrum[..., length - kept + 1 : length - length // 2].flip(-1).conj()
    return torch.cat((spectrum, mirrored), dim=-1)


def _fold(spectrum: Tensor, length: int) -> Tensor:
    """Return the length // 2 + 1 frequencies of the real signal after keeping every n-th sample.

    What lies above the new Nyquist frequency lands, conjugated, as far below it.
    """
    kept, half = spectrum.shape[-1], length // 2
    folded = torch.nn.functional.pad(spectrum, (0, max(0, half + 1 - kept)))[..., : half + 1]
    if kept <= length - half:
        return folded
    mirrored = spectrum[..., length - half :].flip(-1).conj()
    untouched = length - kept + 1
    return torch.cat((folded[..., :untouched], folded[..., untouched:] + mirrored), dim=-1)
