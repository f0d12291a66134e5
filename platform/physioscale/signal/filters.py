"""Zero-phase FIR filters: MNE's kernels and edge rule, applied block by block.

In:  signals (C, T) float64, any unit; cut-off frequencies in hertz.
Out: kernels (K,) float64, K odd and symmetric; filtered signals (C, T) float64, same unit.

The result equals `mne.filter.filter_data(phase="zero", pad="reflect_limited")` to rounding. Block
boundaries leave no trace: every output sample is the full sum over its K input samples. Filters are
linear, so a sample that is not finite spreads over its whole block: remove such samples first.

Letters: C channels, T samples, K kernel samples, M = (K - 1) / 2 samples on each side.
Source: `mne.filter.create_filter` for the kernels (firwin design, Hamming window, MNE's transition
bands); the block-wise convolution is the overlap-save method.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from physioscale.errors import InputError

FloatArray = NDArray[np.float64]

# FFTs of several rows share their SIMD lanes, and 8 blocks of 2^14 still fit a core's cache: 12 ns
# per sample with 3381 taps on one core, against 15 row by row and 30 with blocks of 2^17.
_ROWS_AT_ONCE = 8
_SMALLEST_BLOCK = 1 << 12
_LARGEST_BLOCK = 1 << 15
# The stop band of a notch is its frequency / 200 wide with 0.5 Hz of transition on either side.
_NOTCH_WIDTH_SHARE = 1.0 / 200.0
_NOTCH_TRANSITION_HZ = 0.5


def fir_kernel(
    sampling_rate_hz: float, *, low_hz: float | None = None, high_hz: float | None = None
) -> FloatArray:
    """Return the (K,) kernel of a high-pass, low-pass or band-pass filter.

    The transition bands are MNE's: min(max(low / 4, 2), low) below `low_hz`, and
    min(max(high / 4, 2), Nyquist - high) above `high_hz`; both cut-offs lie in the pass band.

    Raises:
        InputError: no cut-off, or cut-offs that do not satisfy 0 < low < high < Nyquist.
    """
    where = f"filter at {sampling_rate_hz:g} Hz"
    cutoffs = [cutoff for cutoff in (low_hz, high_hz) if cutoff is not None]
    ordered = [0.0, *cutoffs, sampling_rate_hz / 2.0]
    if not cutoffs or not all(one < other for one, other in pairwise(ordered)):
        raise InputError(
            where,
            found=f"low_hz {low_hz} and high_hz {high_hz}",
            expected=f"0 < low_hz < high_hz < {sampling_rate_hz / 2.0:g} Hz, at least one given",
            do="Leave out a cut-off that is not wanted.",
        )
    from mne.filter import create_filter

    kernel = create_filter(None, sampling_rate_hz, low_hz, high_hz, verbose="error")
    return np.asarray(kernel, dtype=np.float64)


def notch_kernel(
    sampling_rate_hz: float, *, line_hz: float, num_harmonics: int | None = None
) -> FloatArray:
    """Return the (K,) kernel that removes the line frequency and its multiples.

    Args:
        sampling_rate_hz: rate of the signals it shall be used on.
        line_hz: 50 or 60 in most of the world.
        num_harmonics: multiples of `line_hz` to remove, itself included; None takes all whose
            stop band lies below the Nyquist frequency.

    Raises:
        InputError: a stop band would touch zero or the Nyquist frequency, or none is left.
    """
    nyquist_hz = sampling_rate_hz / 2.0
    # Upper pass-band edge of the n-th notch: n * reach + transition.
    reach_hz = line_hz * (1.0 + _NOTCH_WIDTH_SHARE / 2.0)
    fitting = 0
    if line_hz * (1.0 - _NOTCH_WIDTH_SHARE / 2.0) > _NOTCH_TRANSITION_HZ:
        fitting = int(np.ceil((nyquist_hz - _NOTCH_TRANSITION_HZ) / reach_hz)) - 1
    wanted = fitting if num_harmonics is None else num_harmonics
    if not 1 <= wanted <= fitting:
        raise InputError(
            f"notch at {sampling_rate_hz:g} Hz",
            found=f"line_hz {line_hz:g}, num_harmonics {num_harmonics}",
            expected=f"stop bands between 0 and {nyquist_hz:g} Hz, of which {max(fitting, 0)} fit",
            do="Lower num_harmonics, or leave the notch out at this rate.",
        )
    from mne.filter import create_filter

    centres_hz = line_hz * np.arange(1, wanted + 1)
    half_width_hz = centres_hz * (_NOTCH_WIDTH_SHARE / 2.0) + _NOTCH_TRANSITION_HZ
    kernel = create_filter(
        None,
        sampling_rate_hz,
        # Low above high is MNE's way to ask for a band-stop filter.
        centres_hz + half_width_hz,
        centres_hz - half_width_hz,
        l_trans_bandwidth=_NOTCH_TRANSITION_HZ,
        h_trans_bandwidth=_NOTCH_TRANSITION_HZ,
        verbose="error",
    )
    return np.asarray(kernel, dtype=np.float64)


def margin_samples(kernel: FloatArray) -> int:
    """Return M = (K - 1) / 2, the samples an output sample looks at on each side.

    Raises:
        ValueError: the kernel is not (K,) with K odd; it would shift the signal.
    """
    if kernel.ndim != 1 or len(kernel) % 2 == 0:
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}; expected (K,) with K odd")
    return (len(kernel) - 1) // 2


def apply_fir(signal: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return the filtered signal (C, T), in phase with the input.

    Raises:
        ValueError: `signal` is not (C, T), or K is even.
        TypeError: `signal` is not float64.
    """
    return convolve_valid(extend_edges(signal, margin_samples(kernel)), kernel)


def extend_edges(signal: FloatArray, margin: int) -> FloatArray:
    """Return (C, T + 2 * margin): the signal continued by point reflection at its ends.

    A reflection holds T - 1 samples; beyond it stand zeros. This is MNE's "reflect_limited".

    Raises:
        ValueError: `signal` is not (C, T).
        TypeError: `signal` is not float64.
    """
    check_signal(signal)
    num_channels, num_times = signal.shape
    extended = np.zeros((num_channels, num_times + 2 * margin))
    extended[:, margin : margin + num_times] = signal
    reach = min(margin, num_times - 1)
    if reach > 0:
        first, last = signal[:, :1], signal[:, -1:]
        extended[:, margin - reach : margin] = 2.0 * first - signal[:, reach:0:-1]
        after = margin + num_times
        extended[:, after : after + reach] = 2.0 * last - signal[:, -2 : -reach - 2 : -1]
    return extended


def check_signal(signal: FloatArray, *, least: int = 0) -> None:
    """Refuse what is not (C, T) float64 with at least `least` samples.

    Raises:
        ValueError: the shape differs.
        TypeError: the type differs; in float32 a filter would lose digits without a word.
    """
    if signal.ndim != 2 or signal.shape[1] < least:
        wanted = f"{least} samples or more" if least else "samples"
        raise ValueError(f"signal has shape {signal.shape}; expected (channels, {wanted})")
    if signal.dtype != np.float64:
        raise TypeError(f"signal is {signal.dtype}; expected float64")


def convolve_valid(signal: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return (C, T - K + 1): the convolution where the kernel lies inside the signal.

    For callers that bring the margins themselves, such as block-wise conversion.

    Raises:
        ValueError: the signal is not (C, T), or shorter than K - 1.
        TypeError: the signal is not float64.
    """
    check_signal(signal, least=len(kernel) - 1)
    num_channels, num_out = signal.shape[0], signal.shape[1] - len(kernel) + 1
    filtered = np.empty((num_channels, num_out))
    length = _block_length(signal.shape[1], len(kernel))
    response = fft.rfft(kernel, length)
    step = length - len(kernel) + 1
    for row in range(0, num_channels, _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        for start in range(0, num_out, step):
            spectrum = fft.rfft(signal[rows, start : start + length], length, workers=1)
            spectrum *= response
            block = fft.irfft(spectrum, length, workers=1, overwrite_x=True)
            stop = min(start + step, num_out)
            # The first K - 1 samples of a block are wrapped around; the block before has them.
            filtered[rows, start:stop] = block[:, len(kernel) - 1 : len(kernel) - 1 + stop - start]
    return filtered


def _block_length(num_times: int, num_taps: int) -> int:
    """Return the FFT length with the least work per output sample."""
    whole = int(fft.next_fast_len(max(num_times, 1), real=True))
    lengths = []
    length = _SMALLEST_BLOCK
    while length <= _LARGEST_BLOCK or length < 4 * num_taps:
        if length >= 2 * num_taps:
            lengths.append(length)
        length *= 2
    best = min(lengths, key=lambda n: n * np.log2(n) / (n - num_taps + 1))
    return min(whole, best)
