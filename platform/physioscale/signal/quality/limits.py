"""The limits that turn quality figures into flags: part of a profile, all of them our choice.

The defaults were set on generated EEG with planted faults and looked at on real recordings; none is
taken from a paper. `physioscale.signal.quality.verdict` states how each is used.
"""

import math
from dataclasses import dataclass, field

from physioscale.errors import InputError


@dataclass
class QualityLimits:
    """When a channel is flagged in a segment, and when a segment is."""

    flat_range_uv: float = 0.5
    """Peak-to-peak range (uV) that a block of 0.5 s must exceed not to be flat: amplifier noise
    alone exceeds it. One step of the source's integers is flat at any limit."""
    max_flat_share: float = 0.1
    """Largest share of the segment in flat blocks: 6 s of 60 s."""
    max_saturated_share: float = 0.002
    """Largest share of samples that stand at a rail: 0.12 s of 60 s."""
    max_line_share: float = 0.5
    """Largest share of the power above 2 Hz at the line frequency and its harmonics: beyond it,
    the channel holds more line noise than anything else."""
    line_hz: list[float] = field(default_factory=lambda: [50.0, 60.0])
    """Line frequencies (Hz) that are looked for; the worse one counts."""
    max_noise_z: float = 5.0
    """Largest robust z of a channel's noise (dB) against the other channels; a spread below 2 dB
    counts as 2 dB, so that the default asks for 10 dB (3.2 times) at least."""
    max_noise_uv: float = 30.0
    """Noise (uV rms above 30 Hz) that is too much whatever the other channels do."""
    min_noise_uv: float = 5.0
    """Noise (uV rms above 30 Hz) that is never too much, however quiet the others are."""
    max_amplitude_z: float = 5.0
    """Largest robust z of a channel's amplitude (dB), as for noise."""
    max_amplitude_uv: float = 500.0
    """Amplitude (uV rms above 2 Hz) that is too much whatever the other channels do."""
    min_amplitude_uv: float = 200.0
    """Amplitude (uV rms above 2 Hz) that is never too much, however quiet the others are."""
    max_bad_channel_share: float = 0.5
    """Largest share of flagged channels in a segment that is still usable."""


_SHARES = ("max_flat_share", "max_saturated_share", "max_line_share", "max_bad_channel_share")
_POSITIVE = (
    "flat_range_uv",
    "max_noise_z",
    "max_noise_uv",
    "min_noise_uv",
    "max_amplitude_z",
    "max_amplitude_uv",
    "min_amplitude_uv",
)


def limit_problems(limits: QualityLimits, *, where: str) -> list[InputError]:
    """Return what contradicts itself in `limits`, for a profile to raise with its other problems.

    Args:
        limits: as read.
        where: the profile and the key in front of the limit's name, as in "profile 'x': quality".
    """
    checks = [
        (name, "a share above 0, at most 1", 0 < getattr(limits, name) <= 1) for name in _SHARES
    ]
    checks += [
        (name, "a value above 0", 0 < getattr(limits, name) < math.inf) for name in _POSITIVE
    ]
    checks.append(
        (
            "line_hz",
            "one frequency or more, each above 10 Hz",
            _are_line_frequencies(limits.line_hz),
        )
    )
    return [
        InputError(
            f"{where}.{name}",
            found=f"{getattr(limits, name)}",
            expected=expected,
            do="Correct the value, or leave it out for the default.",
        )
        for name, expected, holds in checks
        if not holds
    ]


def _are_line_frequencies(frequencies_hz: list[float]) -> bool:
    # Closer to zero, the neighbours of the line would be EEG's own strongest rhythms.
    return bool(frequencies_hz) and all(10 < value < math.inf for value in frequencies_hz)
