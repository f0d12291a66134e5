"""A recording's digital samples in, filtered samples at another rate out, in one pass over blocks.

In:  digital samples (C, T) int16 or int32 in pieces of any length, gap-free run by run; per channel
     gain and offset, value = digital * gain + offset.
Out: blocks (C, T') float32 in the unit of gain and offset at the stored rate, in order; then, over
     all runs, mean and deviation per band, a robust deviation, and SHA-256 of the source samples.

The blocks equal `apply_fir` with each kernel and then `resample`, MNE's edges at both ends of a run
included, to 3e-7 of the root mean square of a block of the source (its mean left out): that is what
float32 holds. Beside an artefact of 10 mV this is 3 nV. A run shorter than the filters is done by
those functions themselves, behind a high-pass without its mean: MNE's padding would turn the offset
of a DC-coupled amplifier into a step.

Blocks lie at fixed places of a run, so that no bit depends on how the source is cut into pieces.
Memory is some blocks, whatever the length. One thread; an object per recording.

Statistics: those of the stored signal are over all its samples, to 1e-6. Those of a band are what
`apply_fir` with its kernel gives, to 1e-5, except for the last seconds of a run: there the source
is continued, not the stored signal. The robust deviation comes from at most 8192 moments in time,
with a standard error of 1.3 %.

Letters: C channels, T source samples, T' stored samples, N block, R rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.signal.onepass.accumulate import Moments, Subsample
from physioscale.signal.onepass.blocks import BlockTransform, short_run
from physioscale.signal.onepass.plan import OnePassPlan
from physioscale.signal.onepass.source import SourceFigures
from physioscale.signal.resampling import num_resampled
from physioscale.signal.statistics import BandStatistics

FloatArray = NDArray[np.float64]
RealArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.signedinteger[Any]]
DigitalArray = NDArray[np.int16] | NDArray[np.int32]

_SUBSAMPLE = 8192


@dataclass(frozen=True)
class RecordingFigures:
    """What is known of a recording after its last block."""

    num_samples: int
    """Source samples per channel, over all runs."""
    num_stored: int
    """Stored samples per channel, over all runs."""
    bands: dict[str, BandStatistics]
    robust_std: FloatArray
    """(C,) of the stored signal; 0 where flat."""
    digital_min: NDArray[np.int64]
    """(C,) smallest source sample."""
    digital_max: NDArray[np.int64]
    """(C,) largest source sample."""
    channel_sha256: tuple[str, ...]
    """SHA-256 of each channel's source samples in time order, all runs joined, little endian: as
    int16 where all of them fit, else as int32. So the same numbers have the same hash, however many
    bits a format gives them."""


class OnePass:
    """Converts one recording: `push` its samples in order, `finish` each run, then `figures`."""

    def __init__(self, plan: OnePassPlan, *, gain: FloatArray, offset: FloatArray) -> None:
        """Prepare for the first run.

        Args:
            plan: what to do, from `plan_one_pass`.
            gain: (C,) value of a digital step; may be negative.
            offset: (C,) value of digital 0.

        Raises:
            ValueError: gain and offset are not (C,) both.
        """
        if gain.ndim != 1 or gain.shape != offset.shape:
            raise ValueError(f"gain {gain.shape} and offset {offset.shape}; expected (C,) both")
        self._plan = plan
        self._gain = gain.astype(np.float64)
        self._offset = offset.astype(np.float64)
        num_channels = len(gain)
        self._source = SourceFigures(num_channels)
        self._moments = {name: Moments(num_channels) for name in plan.bands}
        self._subsample = Subsample(num_channels, capacity=_SUBSAMPLE)
        self._transform = BlockTransform(
            plan, gain=self._gain, offset=self._offset, moments=self._moments
        )
        self._held: DigitalArray | None = None
        self._num_stored = 0
        self._begin_run()

    def push(self, digital: DigitalArray) -> list[RealArray]:
        """Take the next samples (C, T) of the run and return the blocks that are complete.

        Raises:
            ValueError: another number of channels.
            TypeError: neither int16 nor int32, or another type than before.
        """
        self._check(digital)
        self._source.add(digital)
        if self._held is None:
            self._held = np.empty((len(digital), self._plan.block), dtype=digital.dtype)
        blocks: list[RealArray] = []
        at = 0
        while at < digital.shape[1]:
            count = min(digital.shape[1] - at, self._begin + self._plan.block - self._stop)
            into = self._stop - self._held_from
            self._held[:, into : into + count] = digital[:, at : at + count]
            self._stop += count
            at += count
            if self._stop == self._begin + self._plan.block:
                blocks.append(self._next_block(self._plan.stored_step))
        return blocks

    def finish(self) -> list[RealArray]:
        """End the run and return its last blocks; the next `push` begins another run."""
        plan = self._plan
        num_out = num_resampled(self._stop, up=plan.up, down=plan.down)
        blocks: list[RealArray] = []
        if 0 < self._stop <= plan.margin:
            blocks.append(self._short_run())
        while self._num_out < num_out:
            blocks.append(self._next_block(min(plan.stored_step, num_out - self._num_out)))
        self._begin_run()
        return blocks

    def figures(self) -> RecordingFigures:
        """Return what was gathered from all finished runs; NaN and 0 where there was no sample."""
        return RecordingFigures(
            num_samples=self._source.num_samples,
            num_stored=self._num_stored,
            bands={name: moments.result() for name, moments in self._moments.items()},
            robust_std=self._subsample.robust_std(),
            digital_min=self._source.low.copy(),
            digital_max=self._source.high.copy(),
            channel_sha256=self._source.channel_sha256,
        )

    def _begin_run(self) -> None:
        self._stop = 0  # source samples of the run so far
        self._num_out = 0  # stored samples of the run so far
        self._begin = -self._plan.lead  # of the next block, as a source sample of the run

    @property
    def _held_from(self) -> int:
        return max(0, self._begin)

    def _next_block(self, num_out: int) -> RealArray:
        """Return the next block's outputs (C, num_out), and forget what only it needed."""
        values = self._transform.block(self._block_rows, num_out=num_out)
        self._keep(values)
        assert self._held is not None
        held_from = self._held_from
        self._begin += self._plan.step
        drop = self._held_from - held_from
        left = self._stop - self._held_from
        if left > 0:
            for row in self._held:
                row[:left] = row[drop : drop + left]
        return values

    def _short_run(self) -> RealArray:
        assert self._held is not None
        values = short_run(
            self._held[:, : self._stop],
            self._plan,
            gain=self._gain,
            offset=self._offset,
            moments=self._moments,
        )
        self._keep(values)
        return values

    def _keep(self, values: RealArray) -> None:
        self._subsample.add(values, first=self._num_stored)
        self._num_out += values.shape[1]
        self._num_stored += values.shape[1]

    def _block_rows(self, rows: slice) -> IntArray:
        """Return the next block's digital samples (R, N), the run's ends continued."""
        assert self._held is not None
        held = self._held[rows, : self._stop - self._held_from]
        if held.shape[1] == self._plan.block:
            return held
        return _continued(held, begin=self._begin, count=self._plan.block)

    def _check(self, digital: DigitalArray) -> None:
        if digital.ndim != 2 or len(digital) != len(self._gain):
            raise ValueError(
                f"digital samples have shape {digital.shape}; expected ({len(self._gain)}, times)"
            )
        expected = (np.int16, np.int32) if self._held is None else (self._held.dtype,)
        if digital.dtype not in expected:
            names = " or ".join(np.dtype(kind).name for kind in expected)
            raise TypeError(f"digital samples are {digital.dtype}; expected {names}")


def _continued(held: IntArray, *, begin: int, count: int) -> IntArray:
    """Return (R, count) samples of a run from number `begin` on, reflected at its ends.

    Beyond a reflection stands its last value: no output that is kept looks there.

    Args:
        held: (R, H) the run's samples from number max(begin, 0) on; its last one, if the block
            reaches beyond it.
        begin: number of the block's first sample.
        count: length of the block.
    """
    before = max(0, -begin)
    after = count - before - held.shape[1]
    wide: IntArray = held.astype(np.int64 if held.dtype == np.int32 else np.int32)
    ahead = _reflected(wide, before)[:, ::-1]
    behind = _reflected(wide[:, ::-1], after)
    return np.concatenate((ahead, wide, behind), axis=1)


def _reflected(samples: IntArray, count: int) -> IntArray:
    """Return (R, count): what a point reflection at the first of (R, H) samples puts before it."""
    reach = min(count, samples.shape[1] - 1)
    outside = 2 * samples[:, :1] - samples[:, : reach + 1]
    return np.pad(outside, ((0, 0), (0, count - reach)), mode="edge")[:, 1:]
