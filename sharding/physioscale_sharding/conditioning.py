"""Filters and rate of a recording: what the profile asks for, worked out for one source rate.

In:  digital samples (C, T) of one gap-free run, gain and offset per channel.
Out: values (C, T') float64 in the channels' units at the stored rate, in phase with the source.

Filters are MNE's kernels at the source rate with MNE's edges; then the rate changes by an exact
ratio. A run's mean is taken off before a high-pass: MNE's kernels have no gain at 0 Hz, so this
changes nothing except in runs shorter than half the kernel, where MNE's padding would turn the
offset of a DC-coupled amplifier into a step.

Letters: C channels, T samples at the source rate, T' at the stored rate.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.signal import (
    apply_fir,
    decimation_for,
    fir_kernel,
    margin_samples,
    notch_kernel,
    num_resampled,
    rational_ratio,
    resample,
)
from physioscale_sharding.profile import Profile

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int16] | NDArray[np.int32]

# Rows that are worked on together: bounds the memory beside input and output.
_ROWS_AT_ONCE = 8


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


def condition(
    digital: IntArray, *, gain: FloatArray, offset: FloatArray, plan: Conditioning
) -> FloatArray:
    """Return the run's values (C, T') after filters and rate change.

    Args:
        digital: (C, T) samples of one run.
        gain: (C,) units per digital step.
        offset: (C,) value of digital 0.
        plan: what to do.
    """
    kernels = _kernels(plan)
    values = np.empty((len(digital), plan.num_stored(digital.shape[1])))
    for row in range(0, len(digital), _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        block = digital[rows] * gain[rows, np.newaxis] + offset[rows, np.newaxis]
        if plan.low_cut_hz is not None:
            block -= block.mean(axis=1, keepdims=True)
        for kernel in kernels:
            block = apply_fir(block, kernel)
        values[rows] = (
            block if plan.up == plan.down else resample(block, up=plan.up, down=plan.down)
        )
    return values


@lru_cache(maxsize=64)
def band_kernel(
    rate_hz: float, low_hz: float | None, high_hz: float | None
) -> tuple[FloatArray | None, bool]:
    """Return a band's kernel at a rate (None: no filter), and whether its top stays open.

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
