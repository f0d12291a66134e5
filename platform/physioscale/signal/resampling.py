"""Change the sampling rate by an exact ratio of whole numbers, in phase.

In:  signals (C, T) float64, any unit; up and down, whole numbers without a common factor.
Out: signals (C, ceil(T * up / down)) float64, same unit. Output n lies at input position
     n * down / up, so sample 0 stays where it was and nothing drifts.

The low-pass is flat to 1e-5 up to 0.9 of the lower Nyquist frequency (of input and output), at half
height on it, and below 1e-5 (-100 dB) from 1.1 of it. What lies between 1 and 1.1 therefore folds
back, damped, into the topmost tenth of the output's band and no further: 200 Hz output is clean up
to 90 Hz. Ends are continued by point reflection, as in `filters`.

Letters: C channels, T samples, K kernel samples, M margin.
Source: polyphase filtering (Crochiere and Rabiner 1983); a sinc with Kaiser window. Band edges and
attenuation are ours.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.signal.filters import check_signal, extend_edges

FloatArray = NDArray[np.float64]

# Larger terms mean kernels of millions of samples, and no pair of real rates needs them.
_LARGEST_TERM = 4096
# Rates come as decimal texts or as samples / seconds, so a few digits of denominator do.
_LARGEST_DENOMINATOR = 10_000
# Kaiser's formulas for 104 dB (100 dB and a reserve) and a transition of 0.2 lower Nyquists.
_KAISER_BETA = 0.1102 * (104.0 - 8.7)
_HALF_LENGTH = 34


def rational_ratio(source_hz: float, target_hz: float) -> tuple[int, int]:
    """Return (up, down) with target = source * up / down exactly, without a common factor.

    Raises:
        InputError: a rate is not positive, or the ratio needs a number above 4096.
    """
    ratio = _exact_rate(target_hz, "target rate") / _exact_rate(source_hz, "sampling rate")
    if max(ratio.numerator, ratio.denominator) > _LARGEST_TERM:
        raise InputError(
            f"resampling {source_hz:g} Hz to {target_hz:g} Hz",
            found=f"the ratio {ratio.numerator}/{ratio.denominator}",
            expected=f"a ratio of whole numbers up to {_LARGEST_TERM}",
            do="Choose a target that stands in a simpler ratio to the source, or keep its rate.",
        )
    return ratio.numerator, ratio.denominator


def decimation_for(rate_hz: float, *, max_rate_hz: float) -> int:
    """Return the smallest whole factor that brings `rate_hz` down to `max_rate_hz` or below.

    Raises:
        InputError: a rate is not positive.
    """
    quotient = _exact_rate(rate_hz, "sampling rate") / _exact_rate(max_rate_hz, "highest rate")
    return max(1, -(-quotient.numerator // quotient.denominator))


def num_resampled(num_samples: int, *, up: int, down: int) -> int:
    """Return ceil(num_samples * up / down), the outputs that lie before the input's end."""
    return -(-num_samples * up // down)


def num_resampling_taps(*, up: int, down: int) -> int:
    """Return K, the length of `resampling_kernel(up=up, down=down)`."""
    widest = max(up, down)
    return 1 if widest == 1 else 2 * _HALF_LENGTH * widest + 1


def resampling_kernel(*, up: int, down: int) -> FloatArray:
    """Return the (K,) low-pass at `up` times the source's rate; K is odd, the sum is `up`.

    Each of the `up` phases sums to 1: a constant stays that constant. Otherwise the offset of a
    DC-coupled recording, ten thousand times the signal, would leave a tone at -100 dB of itself.

    Raises:
        ValueError: up or down is below 1, or they have a common factor.
    """
    if up < 1 or down < 1 or np.gcd(up, down) != 1:
        raise ValueError(f"up {up} and down {down}; expected positive, without a common factor")
    widest = max(up, down)
    if widest == 1:
        return np.ones(1)
    num_taps = num_resampling_taps(up=up, down=down)
    offset = np.arange(num_taps) - num_taps // 2
    kernel = np.sinc(offset / widest) * np.kaiser(num_taps, _KAISER_BETA)
    for phase in range(up):
        kernel[phase::up] /= kernel[phase::up].sum()
    return np.asarray(kernel, dtype=np.float64)


def resample_margin_samples(*, up: int, down: int) -> int:
    """Return M, the input samples that an output sample may look at on each side."""
    return -(-(num_resampling_taps(up=up, down=down) // 2) // up)


def aligned_start(start: int, *, up: int, down: int) -> int:
    """Return the largest input sample <= `start` on which an output sample lies.

    Windows that are resampled on their own must start there, or their samples would lie between
    those of the recording resampled as a whole. It is output sample `result * up // down`.
    """
    period = down // int(np.gcd(up, down))
    return start - start % period


def resample(signal: FloatArray, *, up: int, down: int) -> FloatArray:
    """Return the signal (C, ceil(T * up / down)) at `up / down` times its rate.

    Raises:
        ValueError: `signal` is not (C, T), or up and down are not reduced.
        TypeError: `signal` is not float64.
    """
    kernel = resampling_kernel(up=up, down=down)
    margin = resample_margin_samples(up=up, down=down)
    return resample_valid(extend_edges(signal, margin), kernel, up=up, down=down)


def resample_valid(signal: FloatArray, kernel: FloatArray, *, up: int, down: int) -> FloatArray:
    """Return (C, ceil((T - 2 * M) * up / down)) where the kernel lies inside the signal.

    For callers that bring M = `resample_margin_samples` samples on each side themselves, such as
    block-wise conversion. Output 0 lies on input sample M.

    Raises:
        ValueError: `signal` is not (C, T) with T >= 2 * M, or the kernel is not that of up / down.
        TypeError: `signal` is not float64.
    """
    margin = resample_margin_samples(up=up, down=down)
    if kernel.shape != (num_resampling_taps(up=up, down=down),):
        raise ValueError(f"kernel has shape {kernel.shape}; expected that of {up}/{down}")
    check_signal(signal, least=2 * margin)
    num_out = num_resampled(signal.shape[1] - 2 * margin, up=up, down=down)
    if num_out == 0 or len(kernel) == 1:
        return signal[:, margin : margin + num_out].copy()
    from scipy.signal import upfirdn

    # `upfirdn` puts its outputs on multiples of `down`, counted from the first input. Zeros before
    # the kernel delay the wanted positions onto that grid.
    centre = margin * up + (len(kernel) - 1) // 2
    delayed = np.concatenate((np.zeros(-centre % down), kernel))
    first = -(-centre // down)
    resampled = upfirdn(delayed, signal, up, down, axis=-1)[:, first : first + num_out]
    return np.ascontiguousarray(resampled, dtype=np.float64)


def _exact_rate(rate_hz: float, name: str) -> Fraction:
    """Return the rate as the simple fraction that the float stands for."""
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise InputError(name, found=f"{rate_hz} Hz", expected="a positive rate", do="Correct it.")
    exact = Fraction(rate_hz)
    simple = exact.limit_denominator(_LARGEST_DENOMINATOR)
    # 256 / 0.9 has no finite binary form; the simple fraction that rounds to the same float is
    # what was meant. A rate that no simple fraction rounds to stays as it is, and is refused later.
    return simple if float(simple) == rate_hz else exact
