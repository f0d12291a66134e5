"""From figures to flags: which channels are bad in a segment, and whether the segment is usable.

In:  `ChannelFigures` of a segment, `QualityLimits`.
Out: `Verdict` with a flag per channel and detector; named scalars for `index.parquet`, and named
     values per channel for `recordings.parquet`.

A channel is noisy if its noise or its amplitude is too large by itself, or stands out from the
other channels of the segment by a robust z in dB: (level - median) / (1.4826 * MAD). Good
recordings differ by a few dB from electrode to electrode, and a MAD of few channels may be zero by
chance: a spread below 2 dB counts as 2 dB. Flat channels are not compared with. With fewer than
three channels there is no saying which one is bad, and only the limits in uV hold.
Source: the robust deviation of channels as a criterion is that of the PREP pipeline (Bigdely-Shamlo
et al. 2015); dB, bands, the least spread and the limits are our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.signal.quality.figures import ChannelFigures
from physioscale.signal.quality.limits import QualityLimits

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MAD_TO_STD = 1.4826
_LEAST_SPREAD_DB = 2.0
_LEAST_COMPARED = 3
_SHARES = ("flat_share", "saturated_share", "line_share")
_LEVELS = ("noise_uv", "amplitude_uv")


@dataclass(frozen=True)
class Verdict:
    """Flags of one segment; True means bad, each (C,) bool."""

    flat: BoolArray
    saturated: BoolArray
    noisy: BoolArray
    line_dominated: BoolArray
    usable: bool
    """Whether no more channels are bad than the limits allow."""

    @property
    def bad(self) -> BoolArray:
        """(C,) channels with any flag."""
        return self.flat | self.saturated | self.noisy | self.line_dominated


def judge(figures: ChannelFigures, *, limits: QualityLimits) -> Verdict:
    """Return which channels exceed a limit; a figure that is None flags nothing."""
    nothing = np.zeros(len(figures.flat_share), dtype=bool)
    flat = figures.flat_share > limits.max_flat_share
    saturated = figures.saturated_share > limits.max_saturated_share
    line = nothing if figures.line_share is None else figures.line_share > limits.max_line_share
    noisy = _stands_out(
        figures.noise_uv,
        compared=~flat,
        largest_z=limits.max_noise_z,
        least_uv=limits.min_noise_uv,
        most_uv=limits.max_noise_uv,
    ) | _stands_out(
        figures.amplitude_uv,
        compared=~flat,
        largest_z=limits.max_amplitude_z,
        least_uv=limits.min_amplitude_uv,
        most_uv=limits.max_amplitude_uv,
    )
    num_bad = np.count_nonzero(flat | saturated | noisy | line)
    usable = bool(num_bad <= limits.max_bad_channel_share * len(flat))
    return Verdict(flat, saturated, noisy, line, usable)


def robust_z(level: FloatArray, *, compared: BoolArray) -> FloatArray:
    """Return (C,) how far each level lies above the compared channels' median, in robust spreads.

    Zeros where fewer than three channels can be compared; channels with a level of zero cannot.

    Args:
        level: (C,) any unit, 0 or more.
        compared: (C,) True for the channels that median and spread are taken from.
    """
    positive = level > 0
    if np.count_nonzero(compared & positive) < _LEAST_COMPARED:
        return np.zeros(len(level))
    level_db = 20.0 * np.log10(level, out=np.full(len(level), -np.inf), where=positive)
    reference = level_db[compared & positive]
    centre = np.median(reference)
    spread = _MAD_TO_STD * np.median(np.abs(reference - centre))
    z: FloatArray = (level_db - centre) / max(spread, _LEAST_SPREAD_DB)
    return z


def segment_quality(figures: ChannelFigures, verdict: Verdict) -> dict[str, float]:
    """Return the named scalars of a segment for the index.

    `<fault>_channel_share`: share of the channels with that flag; `bad_channel_share`: with any.
    `usable`: 1 or 0. `noise_uv`, `amplitude_uv`, `line_share`: the median channel's figure, left
    out where it cannot be measured.
    """
    flags = {
        "bad": verdict.bad,
        "flat": verdict.flat,
        "saturated": verdict.saturated,
        "noisy": verdict.noisy,
        "line": verdict.line_dominated,
    }
    named = {f"{name}_channel_share": float(flag.mean()) for name, flag in flags.items()}
    named["usable"] = float(verdict.usable)
    for name in (*_LEVELS, "line_share"):
        figure = getattr(figures, name)
        if figure is not None:
            named[name] = float(np.median(figure))
    return named


def recording_quality(
    segments: Sequence[tuple[ChannelFigures, Verdict]],
) -> dict[str, FloatArray]:
    """Return the named values (C,) of a recording's channels for the recordings table.

    `flat_share`, `saturated_share`, `line_share`: means over the segments, weighted by their
    length. `noise_uv`, `amplitude_uv`: medians over the segments. `bad_share`: share of the time
    in which the channel has a flag. A figure is taken over the segments that have it, and left out
    if none has.

    Args:
        segments: in time order, all with the same channels.

    Raises:
        ValueError: no segment.
    """
    if not segments:
        raise ValueError("the quality of a recording needs one segment or more; found none")
    weight = np.array([figures.duration_s for figures, _ in segments])
    bad = np.array([verdict.bad for _, verdict in segments])
    named = {"bad_share": np.average(bad, axis=0, weights=weight)}
    for name in (*_SHARES, *_LEVELS):
        values = [getattr(figures, name) for figures, _ in segments]
        measured = np.array([value is not None for value in values])
        if measured.any():
            stack = np.array([value for value in values if value is not None])
            named[name] = (
                np.median(stack, axis=0)
                if name in _LEVELS
                else np.average(stack, axis=0, weights=weight[measured])
            )
    return named


def _stands_out(
    level_uv: FloatArray | None,
    *,
    compared: BoolArray,
    largest_z: float,
    least_uv: float,
    most_uv: float,
) -> BoolArray:
    """Return (C,) True where a level is above its limit, or z and the least level are exceeded."""
    if level_uv is None:
        return np.zeros(len(compared), dtype=bool)
    z = robust_z(level_uv, compared=compared)
    return (level_uv > most_uv) | ((z > largest_z) & (level_uv > least_uv))
