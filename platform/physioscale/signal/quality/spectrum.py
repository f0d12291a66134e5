"""Noise, amplitude and line noise of channels, from the power spectra of 1 s blocks.

In:  samples (C, T) as stored, unfiltered; gain (C,) uV per step.
Out: figures (C,) float64: uV rms, or a share in [0, 1]; None where the rate or the length does not
     allow the figure.

A segment of up to 20 s is looked at whole; of a longer one at most 20 blocks evenly spread are
(every third second of 60 s), which divides the cost by three. Per block the mean is removed and a
Hann window applied, so that a line is 4 Hz wide. Slow waves, drifts and offsets do not enter:
nothing below 2 Hz is counted. Powers are scaled so that their sum over a band is its variance.
Figures are upper quartiles over the blocks: what lasts for a third of the segment shows, what is
rare (blinks, movements) does not.
Source: the periodogram of windowed blocks after Welch (1967); bands and quartiles are our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from physioscale.signal.quality.amplitude import Samples

FloatArray = NDArray[np.float64]

_BLOCK_S = 1.0
_MOST_BLOCKS = 20
_LEAST_FFT_SAMPLES = 32
# Samples whose float32 blocks and spectra fit a core's cache together.
_SAMPLES_AT_ONCE = 1 << 16
_LOWEST_HZ = 2.0
_NOISE_FROM_HZ = 30.0
# Above it, the anti-alias filters of recorders take over.
_NOISE_TO_SHARE = 0.9
_LEAST_NOISE_BAND_HZ = 5.0
# A Hann window of 1 s spreads a line over 2 Hz on each side.
_LINE_HALF_WIDTH_HZ = 2.0
_NEIGHBOURS_HZ = (3.0, 7.0)


@dataclass(frozen=True)
class BlockSpectrum:
    """Power of each block in each frequency bin."""

    power_uv2: NDArray[np.float32]
    """(C, W, F) uV^2 in a bin, negative frequencies included; W = 1 where only a mean is known."""
    bin_hz: float
    """Distance of the bins: bin k lies at k * bin_hz. 0.2 to 1 Hz is fine enough."""


class SpectralFigures(NamedTuple):
    """What the spectra of a segment say of each channel."""

    amplitude_uv: FloatArray
    """(C,) rms above 2 Hz: root of the upper quartile over the blocks of P(nu >= 2 Hz)."""
    noise_uv: FloatArray | None
    """(C,) rms above 30 Hz: root of the upper quartile over the blocks of P(30 Hz <= nu <= 0.45 of
    the rate), without 2 Hz on each side of line frequencies and their harmonics. None if less than
    5 Hz are left."""
    line_share: FloatArray | None
    """(C,) share of the power above 2 Hz that is line noise: upper quartile over the blocks of
        max(sum over the harmonics h of excess(h), 0) / P(nu >= 2 Hz), where
        excess(h) = P(|nu - h| <= 2 Hz) - (its bins) * (mean bin of 3 Hz <= |nu - h| <= 7 Hz);
    the neighbours take off what the spectrum has there anyway. Harmonics lie 2 Hz or more below
    Nyquist; of several line frequencies the larger share counts. None if none fits."""


def block_spectrum(
    samples: Samples, *, gain_uv: FloatArray, sampling_rate_hz: float
) -> BlockSpectrum | None:
    """Return the spectra, or None if a block has too few samples or the segment is below 1 s.

    Args:
        samples: (C, T) integers or floats, finite.
        gain_uv: (C,) uV per step; the sign does not matter.
        sampling_rate_hz: of the samples.
    """
    num_channels, num_times = samples.shape
    length = round(sampling_rate_hz * _BLOCK_S)
    if length < _LEAST_FFT_SAMPLES or num_times < length:
        return None
    num_blocks = num_times // length
    whole = samples[:, : num_blocks * length].reshape(num_channels, num_blocks, length)
    chosen = whole[:, :: -(-num_blocks // _MOST_BLOCKS)]
    window = _hann(length)
    # One-sided: every bin stands for its negative too (0 Hz and Nyquist decide nothing).
    scale = 2.0 * gain_uv**2 / (length * float(np.sum(window**2, dtype=np.float64)))
    power = np.empty((*chosen.shape[:2], length // 2 + 1), dtype=np.float32)
    rows_at_once = max(_SAMPLES_AT_ONCE // (chosen.shape[1] * length), 1)
    for row in range(0, num_channels, rows_at_once):
        rows = slice(row, row + rows_at_once)
        spectrum = fft.rfft(_centred(chosen[rows]) * window, workers=1)
        density = spectrum.real**2 + spectrum.imag**2
        power[rows] = density * scale[rows, np.newaxis, np.newaxis].astype(np.float32)
    return BlockSpectrum(power, sampling_rate_hz / length)


def spectral_figures(spectrum: BlockSpectrum, *, line_hz: Sequence[float]) -> SpectralFigures:
    """Return amplitude, noise and line share of each channel.

    Args:
        spectrum: of one segment.
        line_hz: line frequencies to look for.
    """
    weights = _weights(spectrum.power_uv2.shape[2], spectrum.bin_hz, tuple(line_hz))
    total, noise, *lines = _powers(spectrum.power_uv2, weights)
    total, noise = np.maximum(total, 0.0), np.maximum(noise, 0.0)
    noise_hz = np.count_nonzero(weights[1]) * spectrum.bin_hz
    shares = [
        _upper_quartile(np.divide(excess, total, out=np.zeros_like(total), where=total > 0))
        for excess, row in zip(lines, weights[2:], strict=True)
        if row.any()
    ]
    return SpectralFigures(
        amplitude_uv=np.sqrt(_upper_quartile(total)),
        noise_uv=None if noise_hz < _LEAST_NOISE_BAND_HZ else np.sqrt(_upper_quartile(noise)),
        line_share=np.maximum(np.max(shares, axis=0), 0.0) if shares else None,
    )


def _hann(length: int) -> NDArray[np.float32]:
    """Return the periodic window: a whole number of cycles falls on one bin and its neighbours."""
    phase = 2.0 * np.pi * np.arange(length) / length
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def _centred(blocks: Samples) -> NDArray[np.float32]:
    """Return blocks (..., N) without their means."""
    # float32 holds every integer of 24 bits, but not what is left of a large offset in float64.
    exact: NDArray[Any] = blocks.astype(np.float64 if blocks.dtype == np.float64 else np.float32)
    centred: NDArray[Any] = exact - exact.mean(axis=-1, keepdims=True)
    return np.asarray(centred, dtype=np.float32)


@lru_cache(maxsize=32)
def _weights(num_bins: int, bin_hz: float, line_hz: tuple[float, ...]) -> FloatArray:
    """Return (2 + L, F): what each bin adds to the total, to the noise and to a line."""
    frequency = np.arange(num_bins) * bin_hz
    weights = np.zeros((2 + len(line_hz), num_bins))
    total, noise = weights[0], weights[1]
    total[frequency >= _LOWEST_HZ] = 1.0
    noise[(frequency >= _NOISE_FROM_HZ) & (frequency <= _NOISE_TO_SHARE * frequency[-1])] = 1.0
    nearest, farthest = _NEIGHBOURS_HZ
    for excess, fundamental_hz in zip(weights[2:], line_hz, strict=True):
        num_harmonics = int((frequency[-1] - _LINE_HALF_WIDTH_HZ) / fundamental_hz)
        for number in range(1, num_harmonics + 1):
            distance = np.abs(frequency - number * fundamental_hz)
            inside = distance <= _LINE_HALF_WIDTH_HZ
            beside = (distance >= nearest) & (distance <= farthest)
            excess[inside] = 1.0
            excess[beside] = -np.count_nonzero(inside) / np.count_nonzero(beside)
            noise[inside] = 0.0
    weights.setflags(write=False)
    return weights


def _powers(power_uv2: NDArray[np.float32], weights: FloatArray) -> list[FloatArray]:
    """Return, for each row of weights (R, F), the sum (C, W) over the bins with these weights."""
    # Runs of equal weights are summed in one sweep; a BLAS product would depend on its threads.
    changes = (np.diff(weights, axis=1) != 0).any(axis=0)
    starts = np.append(0, np.flatnonzero(changes) + 1)
    sums = np.add.reduceat(power_uv2, starts, axis=2)
    used = [row[starts] != 0 for row in weights]
    return [
        np.sum(sums[:, :, runs] * row[starts[runs]], axis=2)
        for runs, row in zip(used, weights, strict=True)
    ]


def _upper_quartile(values: FloatArray) -> FloatArray:
    """Return (C,) of values (C, W): three quarters of the blocks are not above it."""
    rank = -(-3 * (values.shape[1] - 1) // 4)
    return np.partition(values, rank, axis=1)[:, rank]
