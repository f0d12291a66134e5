"""Mean and spread of channels, per frequency band and robustly.

In:  signals (C, T) float64, any unit, all values finite.
Out: one value per channel (C,) float64, same unit.

Band statistics treat the signal as periodic: the filter's response is applied to the spectrum of
the whole recording, whose end meets its start. For recordings much longer than the kernel this
differs from filtering with edges by about (kernel length / recording length), and it costs one FFT
for all bands instead of one convolution each.

Letters: C channels, T samples, K kernel samples, F = T // 2 + 1 frequencies.
Source: Parseval's theorem; 1.4826 makes the median absolute deviation of a Gaussian its standard
deviation.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from physioscale.signal.filters import check_signal

FloatArray = NDArray[np.float64]

_MAD_TO_STD = 1.4826


class BandStatistics(NamedTuple):
    """Mean (C,) and standard deviation (C,) of every channel in one band."""

    mean: FloatArray
    std: FloatArray


def band_statistics(
    signal: FloatArray, *, kernels: Mapping[str, FloatArray | None]
) -> dict[str, BandStatistics]:
    """Return the statistics of the signal under each named filter.

    Args:
        signal: (C, T), T >= 1.
        kernels: band name -> (K,) odd and symmetric kernel at the signal's rate; None means
            unfiltered. The deviation is the population's (divided by T).

    Raises:
        ValueError: `signal` is not (C, T) with T >= 1.
        TypeError: `signal` is not float64.
    """
    check_signal(signal, least=1)
    num_channels, num_times = signal.shape
    gains = {name: _power_response(kernel, num_times) for name, kernel in kernels.items()}
    means = {name: np.empty(num_channels) for name in kernels}
    stds = {name: np.empty(num_channels) for name in kernels}
    # One channel at a time: a spectrum is as large as its channel.
    for channel in range(num_channels):
        mean = signal[channel].mean()
        # Without its mean a DC-coupled channel keeps all digits for what is of interest.
        power = _power_spectrum(signal[channel] - mean)
        for name, kernel in kernels.items():
            means[name][channel] = mean * (1.0 if kernel is None else kernel.sum())
            # Not `power @ gains`: the order in which BLAS adds depends on its threads, and shards
            # must not.
            stds[name][channel] = np.sqrt((power * gains[name]).sum()) / num_times
    return {name: BandStatistics(means[name], stds[name]) for name in kernels}


def robust_std(signal: FloatArray) -> FloatArray:
    """Return (C,): 1.4826 times the median distance from the channel's median; 0 where flat.

    Raises:
        ValueError: `signal` is not (C, T) with T >= 1.
        TypeError: `signal` is not float64.
    """
    check_signal(signal, least=1)
    centre = np.median(signal, axis=1, keepdims=True)
    return np.asarray(_MAD_TO_STD * np.median(np.abs(signal - centre), axis=1), dtype=np.float64)


def _power_spectrum(channel: FloatArray) -> FloatArray:
    """Return (F,) |X|^2 with the weight of the negative frequencies, zero at 0 Hz."""
    spectrum = fft.rfft(channel, workers=1)
    power = spectrum.real**2 + spectrum.imag**2
    power[0] = 0.0
    # Every frequency stands for its negative too, but the Nyquist frequency of an even T does not.
    power[1 : (len(channel) + 1) // 2] *= 2.0
    return np.asarray(power, dtype=np.float64)


def _power_response(kernel: FloatArray | None, num_times: int) -> FloatArray:
    """Return (F,) |H|^2 of a kernel at the frequencies of T samples."""
    if kernel is None:
        return np.ones(num_times // 2 + 1)
    # A kernel longer than the signal wraps around it, which samples its spectrum exactly.
    turns = -(-len(kernel) // num_times)
    padded = np.pad(kernel, (0, turns * num_times - len(kernel)))
    wrapped = padded.reshape(turns, num_times).sum(axis=0)
    return np.asarray(np.abs(fft.rfft(wrapped, workers=1)) ** 2, dtype=np.float64)
