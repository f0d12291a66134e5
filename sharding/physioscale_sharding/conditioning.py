"""Filters and rate of a recording: what the profile asks for, worked out for one source rate.

In:  a source rate (Hz) and a profile.
Out: `Conditioning`, what is done in words and numbers; `pass_plan`, the same for `OnePass`.

Filters are MNE's kernels at the source rate with MNE's edges; then the rate changes by an exact
ratio. Values stay in phase with the source.

Letters: K kernel samples.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.signal import (
    decimation_for,
    fir_kernel,
    margin_samples,
    notch_kernel,
    num_resampled,
    rational_ratio,
)
from physioscale.signal.onepass import OnePassPlan, plan_one_pass
from physioscale_sharding.profile import Profile

FloatArray = NDArray[np.float64]

AS_STORED = "as stored"
"""Name of a pass's band without a filter; no band of a profile can have it."""


@dataclass(frozen=True)
class Conditioning:
    """What is done to one recording's signals."""

    source_rate_hz: float
    rate_hz: float
    """Stored rate."""
    up: int
    down: int
    low_cut_hz: float | None
    high_cut_hz: float | None
    notch_hz: tuple[float, ...]
    """The line frequency and the harmonics that are removed."""
    notes: tuple[str, ...]

    def num_stored(self, num_samples: int) -> int:
        """Return how many samples a run of `num_samples` has at the stored rate."""
        return num_resampled(num_samples, up=self.up, down=self.down)

    @property
    def margin(self) -> int:
        """Source samples that the longest filter looks at on each side."""
        kernels = _kernels(self)
        return max((margin_samples(kernel) for kernel in kernels), default=0)


def conditioning_for(source_rate_hz: float, *, profile: Profile, where: str) -> Conditioning:
    """Return what `profile` does to recordings of that rate.

    Raises:
        InputError: the rate is below the profile's, in no simple ratio to it, or a corner does not
            fit it.
    """
    up, down = _ratio(source_rate_hz, profile, where)
    nyquist_hz = source_rate_hz / 2
    high_cut_hz, notes = profile.high_cut_hz, []
    if high_cut_hz is not None and high_cut_hz >= nyquist_hz:
        notes.append(
            f"low_pass_left_out: {high_cut_hz:g} Hz is not below half the rate, {nyquist_hz:g} Hz"
        )
        high_cut_hz = None
    notch_hz = _harmonics(source_rate_hz, profile.notch_hz)
    if profile.notch_hz is not None and not notch_hz:
        notes.append(f"notch_left_out: {profile.notch_hz:g} Hz is not below {nyquist_hz:g} Hz")
    return Conditioning(
        source_rate_hz=source_rate_hz,
        rate_hz=source_rate_hz * up / down,
        up=up,
        down=down,
        low_cut_hz=profile.low_cut_hz,
        high_cut_hz=high_cut_hz,
        notch_hz=notch_hz,
        notes=tuple(notes),
    )


@lru_cache(maxsize=8)
def pass_plan(
    plan: Conditioning, bands: tuple[tuple[str, float | None, float | None], ...]
) -> OnePassPlan:
    """Return what one pass does to every block of a recording.

    Args:
        plan: filters and rate.
        bands: (name, low corner, high corner) of the bands with statistics. Those without a filter
            are in the pass as one, `AS_STORED`, which is there in any case.
    """
    kernels = {name: band_kernel(plan.rate_hz, low, high)[0] for name, low, high in bands}
    filtered = {name: kernel for name, kernel in kernels.items() if kernel is not None}
    wanted = {AS_STORED: None, **filtered}
    return plan_one_pass(_kernels(plan), up=plan.up, down=plan.down, bands=wanted)


@lru_cache(maxsize=64)
def band_kernel(
    rate_hz: float, low_hz: float | None, high_hz: float | None
) -> tuple[FloatArray | None, bool]:
    """Return a band's kernel (K,) at a rate (None: no filter), and whether its top stays open.

    An upper corner at or above half the rate is left out: the recording has nothing there.
    """
    open_top = high_hz is not None and high_hz >= rate_hz / 2
    high_hz = None if open_top else high_hz
    if low_hz is None and high_hz is None:
        return None, open_top
    return fir_kernel(rate_hz, low_hz=low_hz, high_hz=high_hz), open_top


@lru_cache(maxsize=16)
def _kernels(plan: Conditioning) -> tuple[FloatArray, ...]:
    rate_hz = plan.source_rate_hz
    kernels = []
    if plan.low_cut_hz is not None or plan.high_cut_hz is not None:
        kernels.append(fir_kernel(rate_hz, low_hz=plan.low_cut_hz, high_hz=plan.high_cut_hz))
    if plan.notch_hz:
        count = len(plan.notch_hz)
        kernels.append(notch_kernel(rate_hz, line_hz=plan.notch_hz[0], num_harmonics=count))
    return tuple(kernels)


def _ratio(source_rate_hz: float, profile: Profile, where: str) -> tuple[int, int]:
    wanted_hz, highest_hz = profile.sampling_rate_hz, profile.max_sampling_rate_hz
    if wanted_hz is not None:
        if source_rate_hz < wanted_hz and not profile.upsample:
            raise InputError(
                where,
                found=f"a sampling rate of {source_rate_hz:g} Hz",
                expected=f"the profile's {wanted_hz:g} Hz or more",
                do="Set upsample in the profile if these recordings are wanted all the same.",
            )
        return rational_ratio(source_rate_hz, wanted_hz)
    if highest_hz is not None:
        return 1, decimation_for(source_rate_hz, max_rate_hz=highest_hz)
    return 1, 1


def _harmonics(rate_hz: float, line_hz: float | None) -> tuple[float, ...]:
    """Return the multiples of the line frequency whose stop band lies below half the rate."""
    fitting: tuple[float, ...] = ()
    if line_hz is not None:
        # A notch is 1/200 of its frequency wide, with 0.5 Hz of transition (`notch_kernel`).
        most = int(rate_hz / 2 / line_hz) + 1
        multiples = [line_hz * number for number in range(1, most + 1)]
        fitting = tuple(f for f in multiples if f * (1 + 0.5 / 200) + 0.5 < rate_hz / 2)
    return fitting
