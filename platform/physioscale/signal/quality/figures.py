"""The quality figures of one segment's channels, together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.signal.quality.amplitude import Samples, flat_share, saturated_share
from physioscale.signal.quality.limits import QualityLimits
from physioscale.signal.quality.spectrum import (
    BlockSpectrum,
    block_spectrum,
    spectral_figures,
)

FloatArray = NDArray[np.float64]

_UV_PER_V = 1e6


@dataclass(frozen=True)
class ChannelFigures:
    """What was measured; each figure is (C,) float64, None where it cannot be measured."""

    duration_s: float
    """Length of the segment."""
    flat_share: FloatArray
    """Share of the time in blocks of 0.5 s that do not move (`amplitude.flat_share`)."""
    saturated_share: FloatArray
    """Share of the samples at a rail (`amplitude.saturated_share`)."""
    line_share: FloatArray | None
    """Share of the power that is line noise (`SpectralFigures.line_share`)."""
    noise_uv: FloatArray | None
    """rms above 30 Hz (`SpectralFigures.noise_uv`)."""
    amplitude_uv: FloatArray | None
    """rms above 2 Hz (`SpectralFigures.amplitude_uv`)."""


def channel_figures(
    samples: Samples,
    *,
    gain_v: FloatArray,
    sampling_rate_hz: float,
    limits: QualityLimits,
    lowest: NDArray[Any] | None = None,
    highest: NDArray[Any] | None = None,
    power_spectrum: BlockSpectrum | None = None,
) -> ChannelFigures:
    """Return the figures of a segment's channels, which share a sampling rate.

    Costs 1.7 ns (64 channels, 1024 Hz) to 2.9 ns (19 channels, 128 Hz) per int16 sample on one
    core, 8 to 13 % of one pass of a 0.5 Hz high-pass, and less memory than the samples take.

    Args:
        samples: (C, T) digital integers as stored, or values in floats; T >= 1.
        gain_v: (C,) V per step (ones for values in V); the sign does not matter.
        sampling_rate_hz: of the samples.
        limits: says what range is flat and which line frequencies are looked for.
        lowest: (C,) smallest value that the converter gives; None: not known.
        highest: (C,) largest value that the converter gives; None: not known.
        power_spectrum: of these samples, if the caller has it; None: it is computed here.

    Raises:
        InputError: samples that are not finite.
        ValueError: samples that are not (C, T) with T >= 1, or a gain that is not (C,), finite and
            other than zero.
    """
    _check(samples, gain_v)
    gain_uv = gain_v * _UV_PER_V
    spectrum = power_spectrum
    if spectrum is None:
        spectrum = block_spectrum(samples, gain_uv=gain_uv, sampling_rate_hz=sampling_rate_hz)
    spectral = None if spectrum is None else spectral_figures(spectrum, line_hz=limits.line_hz)
    return ChannelFigures(
        duration_s=samples.shape[1] / sampling_rate_hz,
        flat_share=flat_share(
            samples,
            gain_uv=gain_uv,
            sampling_rate_hz=sampling_rate_hz,
            flat_range_uv=limits.flat_range_uv,
        ),
        saturated_share=saturated_share(
            samples, sampling_rate_hz=sampling_rate_hz, lowest=lowest, highest=highest
        ),
        line_share=None if spectral is None else spectral.line_share,
        noise_uv=None if spectral is None else spectral.noise_uv,
        amplitude_uv=None if spectral is None else spectral.amplitude_uv,
    )


def _check(samples: Samples, gain_v: FloatArray) -> None:
    if samples.ndim != 2 or samples.shape[1] < 1:
        raise ValueError(f"samples have shape {samples.shape}; expected (channels, 1 or more)")
    if gain_v.shape != (len(samples),):
        raise ValueError(f"gain_v has shape {gain_v.shape}; expected ({len(samples)},)")
    if not np.all(np.isfinite(gain_v) & (gain_v != 0)):
        raise ValueError("gain_v has a value that is zero or not finite")
    if samples.dtype.kind != "f":
        return
    num_bad = np.count_nonzero(~np.isfinite(samples), axis=1)
    if num_bad.any():
        first = int(np.argmax(num_bad > 0))
        raise InputError(
            f"quality of channel {first} of {len(samples)}",
            found=f"{num_bad[first]} samples that are not finite",
            expected="finite samples",
            do="Treat missing samples as a gap before measuring quality.",
        )
