"""Where the segments of a recording lie, and which of them the profile keeps.

In:  a `Prepared` recording and the judgement of each of its segments.
Out: `Place`s in time order, with the numbers of their runs as they are stored.

A segment that is left out makes a gap: the next one that is kept begins a run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from physioscale.errors import InputError
from physioscale_sharding.judging import Judged
from physioscale_sharding.prepare import Prepared


@dataclass(frozen=True)
class Place:
    """Where a segment lies."""

    run: int
    """Number of the stored run."""
    spooled: tuple[int, int]
    """[start, stop) among all stored samples of the recording, runs joined."""
    start_sample: int
    """As in its meta."""
    judged: Judged | None


def kept_places(
    prepared: Prepared, judged: Sequence[Judged | None], *, drop_unusable: bool
) -> tuple[list[Place], list[str]]:
    """Return the segments that are kept, and a note on those that are not usable.

    Args:
        prepared: the recording.
        judged: its segments in time order; None where nothing was judged.
        drop_unusable: leave out segments that are not usable.

    Raises:
        InputError: no segment is left.
    """
    places = list(_places(prepared, judged, drop_unusable=drop_unusable))
    unusable = sum(one is not None and not one.verdict.usable for one in judged)
    if not places:
        raise InputError(
            prepared.header.source,
            found=f"none of {len(judged)} segments is usable by the profile's limits",
            expected="at least one",
            do="Look at the recording, or set quality_action to mark.",
        )
    if not unusable:
        return places, []
    rule = "segments_dropped" if drop_unusable else "segments_unusable"
    done = "left out" if drop_unusable else "kept and marked"
    return places, [
        f"{rule}: {unusable} of {len(judged)} segments have too many bad channels; {done}"
    ]


def _places(
    prepared: Prepared, judged: Sequence[Judged | None], *, drop_unusable: bool
) -> Iterator[Place]:
    plan = prepared.conditioning
    number = spooled = begun = 0
    stored_run = -1
    for run, cut in prepared.runs:
        # A gap shorter than half a stored sample would round into the run before it.
        run_start = max(round(run.start_s * plan.rate_hz), begun)
        follows = False
        for start, stop in cut.bounds:
            one = judged[number]
            number += 1
            begun = run_start + stop
            if drop_unusable and one is not None and not one.verdict.usable:
                follows = False
                continue
            stored_run += not follows
            follows = True
            yield Place(
                run=stored_run,
                spooled=(spooled + start, spooled + stop),
                start_sample=run_start + start,
                judged=one,
            )
        spooled += plan.num_stored(run.num_samples)
