"""The one pass over a recording's samples: everything that has to be known before it is written.

In:  a `Prepared` recording.
Out: `Measured`: hash, extremes, statistics and quality; and in the spool its stored samples.

Samples are read a segment at a time and go into the filters, the hash and the judgement of their
segment. Runs are filtered each for itself: nothing looks across a gap. Memory is that of a segment
and of some blocks, whatever the length.

Letters: C channels, T samples.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.signal.onepass import OnePass, RecordingFigures
from physioscale_sharding.conditioning import pass_plan
from physioscale_sharding.judging import Judge, Judged
from physioscale_sharding.prepare import Prepared
from physioscale_sharding.profile import Profile
from physioscale_sharding.readers import DigitalArray, reader_for
from physioscale_sharding.spool import Spool

# float32 reaches from 1e-38 to 3e38; a filter may overshoot.
_SMALLEST_STEP, _LARGEST_VALUE = 1e-30, 1e37
_MOST_STEPS = 2.0**31


@dataclass(frozen=True)
class Measured:
    """What is known of a recording's samples."""

    content_sha256: str
    figures: RecordingFigures
    judged: tuple[Judged | None, ...]
    """Of each segment, over all runs."""
    quality: list[dict[str, Any]]
    """Of the recording, as in `recordings.parquet`."""
    flat: NDArray[np.bool_]
    """(C,) whether a channel has one value only, in all runs together."""


def measure(prepared: Prepared, *, profile: Profile, spool: Spool) -> Measured:
    """Read a recording once.

    Args:
        prepared: the recording.
        profile: what is done to it.
        spool: gets the stored samples of all runs, one behind the other: values in the stored
            unit at the stored rate, or with coding "native" the source's integers.

    Raises:
        InputError: samples cannot be read or scaled, or every channel is flat.
        SpoolError: no room for them.
    """
    _check_range(prepared)
    selection = prepared.selection
    bands = tuple((name, b.low_hz, b.high_hz) for name, b in profile.statistics_bands.items())
    one_pass = OnePass(
        pass_plan(prepared.conditioning, bands), gain=selection.gain, offset=selection.offset
    )
    judge = Judge(selection, limits=profile.quality)
    native = profile.coding == "native"
    judged = []
    for place in range(len(prepared.runs)):
        for digital, is_segment in _pieces(prepared, place):
            if is_segment:
                judged.append(judge.segment(digital))
            if native:
                spool.append(digital)
            for block in one_pass.push(digital):
                if not native:
                    spool.append(block)
        for block in one_pass.finish():
            if not native:
                spool.append(block)
    figures = one_pass.figures()
    flat = figures.digital_min == figures.digital_max
    _check_not_flat(prepared, flat)
    return Measured(
        content_sha256=_joined_hash(figures.channel_sha256),
        figures=figures,
        judged=tuple(judged),
        quality=judge.recording(judged),
        flat=flat,
    )


def _pieces(prepared: Prepared, place: int) -> Iterator[tuple[DigitalArray, bool]]:
    """Yield digital samples (C, T) of a run: those of each segment, then (False) the rest."""
    run, cut = prepared.runs[place]
    plan, reader = prepared.conditioning, reader_for(prepared.recording.absolute)
    bounds = cut.source_bounds(run.num_samples, up=plan.up, down=plan.down)
    pieces = [(start, stop, True) for start, stop in bounds]
    _, last = bounds[-1]
    if last < run.num_samples:
        pieces.append((last, run.num_samples, False))
    for start, stop, is_segment in pieces:
        digital = reader.read_samples(
            prepared.header,
            prepared.selection.source,
            start=run.start_sample + start,
            stop=run.start_sample + stop,
        )
        yield digital, is_segment


def _check_range(prepared: Prepared) -> None:
    """Refuse a scale whose values float32 cannot hold."""
    gain, offset = np.abs(prepared.selection.gain), np.abs(prepared.selection.offset)
    bad = ~((gain > _SMALLEST_STEP) & (gain * _MOST_STEPS + offset < _LARGEST_VALUE))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            prepared.header.source,
            found=f"{np.count_nonzero(bad)} channels whose values are not finite as float32 "
            f"(first: steps of {gain[first]:g})",
            expected=f"steps between {_SMALLEST_STEP:g} and {_LARGEST_VALUE / _MOST_STEPS:g}",
            do="The header's physical or digital range is damaged: copy the file again.",
        )


def _check_not_flat(prepared: Prepared, flat: NDArray[np.bool_]) -> None:
    if flat.all():
        raise InputError(
            prepared.header.source,
            found=f"all {len(flat)} channels are flat",
            expected="at least one that changes",
            do="Leave the recording out, or look for the fault in its export.",
        )


def _joined_hash(channels: tuple[str, ...]) -> str:
    """Return the hash of a recording from those of its channels.

    They are sorted, so that another order of channels or another label does not hide that the
    samples are the same.
    """
    return hashlib.sha256("".join(sorted(channels)).encode()).hexdigest()
