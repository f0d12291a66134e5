"""Synthetic EEG with structure a model can learn: smooth over the scalp, coloured over time.

In:  electrode positions (C, 3) float64 on the unit sphere (x right, y front, z up), a seed.
Out: signals (C, T) float64, microvolts, zero-mean up to a slow drift.

A few hidden sources with a 1/f spectrum are mixed with weights that fall off with the angle between
source and electrode, so that a channel can be predicted from its neighbours and a moment from what
surrounds it. Alpha waxes and wanes at the back of the head and is strong with eyes closed; blinks
show at the front with eyes open; line noise and sensor noise are added. Amplitudes are ours, of the
order of scalp EEG; nothing here is a model of physiology.

Letters: C channels, T samples, S sources.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Angles in degrees of the ideal 10-20 sphere: from the vertex, and from the right ear to the front.
_TEN_TWENTY_ANGLES = {
    "Fp1": (90, 108),
    "Fp2": (90, 72),
    "F7": (90, 144),
    "F3": (60, 129),
    "Fz": (45, 90),
    "F4": (60, 51),
    "F8": (90, 36),
    "T7": (90, 180),
    "C3": (45, 180),
    "Cz": (0, 0),
    "C4": (45, 0),
    "T8": (90, 0),
    "P7": (90, 216),
    "P3": (60, 231),
    "Pz": (45, 270),
    "P4": (60, 309),
    "P8": (90, 324),
    "O1": (90, 252),
    "O2": (90, 288),
}
TEN_TWENTY_19 = tuple(_TEN_TWENTY_ANGLES)
_NUM_SOURCES = 12
_SOURCE_SPREAD_RAD = 0.6
_SPECTRAL_EXPONENT = 1.2
_LOWEST_HZ = 0.3
_ALPHA_WIDTH_HZ = 1.0
_BLINK_INTERVAL_S = 4.0
_BLINK_WIDTH_S = 0.07
_BACK = (0.0, -0.94, 0.34)
_FRONT = (0.0, 0.98, -0.2)


def ten_twenty_positions(names: Sequence[str] = TEN_TWENTY_19) -> FloatArray:
    """Return (C, 3) unit-sphere positions of electrodes of the 10-20 system.

    Raises:
        ValueError: a name is not one of `TEN_TWENTY_19`.
    """
    unknown = [name for name in names if name not in _TEN_TWENTY_ANGLES]
    if unknown:
        raise ValueError(f"no 10-20 electrode '{unknown[0]}'; choose from {TEN_TWENTY_19}")
    angles = np.radians([_TEN_TWENTY_ANGLES[name] for name in names])
    return _on_sphere(np.cos(angles[:, 0]), angles[:, 1])


def spread_positions(num_channels: int) -> FloatArray:
    """Return (C, 3) positions spread evenly over the upper three quarters of the unit sphere."""
    # The golden angle keeps neighbours on a spiral apart at any number of points.
    order = np.arange(num_channels)
    height = 1.0 - 1.5 * (order + 0.5) / max(num_channels, 1)
    return _on_sphere(height, order * np.pi * (3.0 - np.sqrt(5.0)))


def generate_eeg(
    positions: FloatArray,
    *,
    duration_s: float,
    sampling_rate_hz: float,
    seed: int,
    eyes_closed: bool,
    alpha_hz: float = 10.0,
    background_uv: float = 12.0,
    alpha_uv: float = 18.0,
    blink_uv: float = 90.0,
    line_hz: float = 50.0,
    line_uv: float = 2.0,
    noise_uv: float = 0.8,
) -> FloatArray:
    """Return (C, T) float64 in uV with T = round(duration_s * sampling_rate_hz).

    Args:
        positions: (C, 3) on the unit sphere.
        duration_s: length of the signal.
        sampling_rate_hz: nothing above its half is generated, line noise included.
        seed: the same arguments give the same signal.
        eyes_closed: full alpha and no blinks; else a quarter of the alpha, and blinks.
        alpha_hz: the subject's own alpha frequency.
        background_uv: standard deviation of the 1/f background, about the same in each channel.
        alpha_uv: standard deviation of alpha where it is strongest, eyes closed.
        blink_uv: height of a blink at the forehead.
        line_hz: line frequency; its third harmonic is added at a third of the height.
        line_uv: height of the line noise in an average channel.
        noise_uv: standard deviation of the sensor noise, independent in each channel.

    Raises:
        ValueError: the signal would have no sample.
    """
    num_times = round(duration_s * sampling_rate_hz)
    if num_times < 1:
        raise ValueError(f"{duration_s:g} s at {sampling_rate_hz:g} Hz hold no sample")
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_times) / sampling_rate_hz
    signal = background_uv * _background(rng, positions, num_times, sampling_rate_hz)
    strength = alpha_uv if eyes_closed else 0.25 * alpha_uv
    signal += strength * _alpha(rng, positions, num_times, sampling_rate_hz, alpha_hz)
    if not eyes_closed:
        signal += blink_uv * _blinks(rng, positions, time_s)
    signal += line_uv * _line(rng, len(positions), time_s, sampling_rate_hz, line_hz)
    signal += noise_uv * rng.standard_normal(signal.shape)
    return signal


def _on_sphere(height: FloatArray, azimuth_rad: FloatArray) -> FloatArray:
    radius = np.sqrt(1.0 - height**2)
    columns = (radius * np.cos(azimuth_rad), radius * np.sin(azimuth_rad), height)
    return np.stack(columns, axis=-1)


def _falloff(positions: FloatArray, centres: FloatArray, spread_rad: float) -> FloatArray:
    """Return (C, S) weights in (0, 1]: a Gaussian of the angle between electrode and centre."""
    angle = np.arccos(np.clip(positions @ np.atleast_2d(centres).T, -1.0, 1.0))
    weights: FloatArray = np.exp(-0.5 * (angle / spread_rad) ** 2)
    return weights


def _background(
    rng: np.random.Generator, positions: FloatArray, num_times: int, sampling_rate_hz: float
) -> FloatArray:
    frequency = np.fft.rfftfreq(num_times, 1.0 / sampling_rate_hz)
    # Below the lowest frequency the spectrum is level: a true 1/f would be all drift.
    shape = np.maximum(frequency, _LOWEST_HZ) ** (-0.5 * _SPECTRAL_EXPONENT)
    sources = _coloured(rng, _NUM_SOURCES, num_times, shape)
    mixing = _falloff(positions, spread_positions(_NUM_SOURCES), _SOURCE_SPREAD_RAD)
    # Dipoles: one that lies along the scalp is positive on one side and negative on the other.
    orientation = rng.standard_normal((_NUM_SOURCES, 3))
    mixing *= positions @ orientation.T
    mixed: FloatArray = mixing / np.linalg.norm(mixing, axis=1, keepdims=True) @ sources
    return mixed


def _alpha(
    rng: np.random.Generator,
    positions: FloatArray,
    num_times: int,
    sampling_rate_hz: float,
    alpha_hz: float,
) -> FloatArray:
    frequency = np.fft.rfftfreq(num_times, 1.0 / sampling_rate_hz)
    # A band of about 1 Hz waxes and wanes within a second, as alpha spindles do.
    shape = np.exp(-0.5 * ((frequency - alpha_hz) / _ALPHA_WIDTH_HZ) ** 2)
    source = _coloured(rng, 1, num_times, shape)
    return _falloff(positions, np.array(_BACK), 0.8) @ source


def _coloured(
    rng: np.random.Generator, num_sources: int, num_times: int, shape: FloatArray
) -> FloatArray:
    """Return (S, T) noise of unit variance whose amplitude spectrum follows `shape`."""
    white = np.fft.rfft(rng.standard_normal((num_sources, num_times)), axis=-1)
    noise = np.fft.irfft(white * shape, n=num_times, axis=-1)
    spread = noise.std(axis=-1, keepdims=True)
    # A signal of one sample has no spread; it stays zero.
    scaled: FloatArray = np.divide(noise, spread, out=np.zeros_like(noise), where=spread > 0)
    return scaled


def _blinks(rng: np.random.Generator, positions: FloatArray, time_s: FloatArray) -> FloatArray:
    # 30 % around the mean interval, so that blinks are no clock a model could use.
    num_blinks = int(time_s[-1] / _BLINK_INTERVAL_S)
    jitter = rng.uniform(-0.3, 0.3, size=num_blinks)
    centres_s = (np.arange(num_blinks) + 0.5 + jitter) * _BLINK_INTERVAL_S
    course = np.zeros_like(time_s)
    for centre_s in centres_s:
        course += np.exp(-0.5 * ((time_s - centre_s) / _BLINK_WIDTH_S) ** 2)
    return _falloff(positions, np.array(_FRONT), 0.5) @ course[np.newaxis]


def _line(
    rng: np.random.Generator,
    num_channels: int,
    time_s: FloatArray,
    sampling_rate_hz: float,
    line_hz: float,
) -> FloatArray:
    phase_rad = 2.0 * np.pi * rng.uniform()
    course = np.zeros_like(time_s)
    for harmonic, height in ((1, 1.0), (3, 1.0 / 3.0)):
        if harmonic * line_hz < 0.5 * sampling_rate_hz:
            course += height * np.sin(harmonic * (2.0 * np.pi * line_hz * time_s + phase_rad))
    # Pick-up depends on each electrode's impedance: a factor of its own per channel.
    factors = rng.uniform(0.3, 1.7, size=(num_channels, 1))
    return factors * course[np.newaxis]
