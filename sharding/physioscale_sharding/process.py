"""One recording, from its file to the segments and the row that go into the shard set.

In:  a `Prepared` recording.
Out: its segments, ready to be written, then its row of `recordings.parquet`.

The recording is read once, to its end (`measure`); then its segments are coded and described one
after the other from the samples that were spooled. A run is the unit of all of it: a filter, a rate
change and a segment never cross a gap.

Letters: C channels, T samples.
"""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import SegmentMeta
from physioscale_sharding.conditioning import AS_STORED
from physioscale_sharding.events import Event, gather_events, inside
from physioscale_sharding.facts import quality_column, signal_facts, source_facts
from physioscale_sharding.identity import segment_key
from physioscale_sharding.measure import Measured, measure
from physioscale_sharding.places import Place, kept_places
from physioscale_sharding.pooled import statistics_rows
from physioscale_sharding.prepare import Conversion, Prepared
from physioscale_sharding.profile import Profile
from physioscale_sharding.quantise import (
    Coded,
    code_float32,
    code_native,
    code_values,
    largest_steps,
)
from physioscale_sharding.spool import Spool

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """A segment as it goes into a shard."""

    meta: SegmentMeta
    stored: NDArray[np.int16] | NDArray[np.float32]
    quality: dict[str, float]


def convert(
    prepared: Prepared, *, split: str, conversion: Conversion, folder: Path
) -> Generator[Segment, None, dict[str, Any]]:
    """Yield the segments of a recording and return its row.

    All samples are read before the first segment comes: a recording that is damaged gives none.

    Args:
        prepared: the recording.
        split: the split of its subject.
        conversion: what all recordings share.
        folder: has room for its samples.

    Raises:
        InputError: samples cannot be read, every channel is flat, or no segment is left.
        SpoolError: no room in `folder`.
    """
    profile = conversion.profile
    with Spool(folder) as spool:
        measured = measure(prepared, profile=profile, spool=spool)
        events = gather_events(
            prepared.recording,
            prepared.header.annotations,
            definition=conversion.definition,
            allow_text=profile.allow_text,
        )
        places, notes = kept_places(
            prepared, measured.judged, drop_unusable=profile.quality_action == "drop_segments"
        )
        coder = _Coder.of(prepared, measured, profile)
        num_float32 = 0
        for number, place in enumerate(places):
            coded = coder.code(spool.read(*place.spooled))
            num_float32 += coded.dtype == "float32"
            meta = _meta(
                prepared,
                place,
                number=number,
                coded=coded,
                events=events.kept,
                corpus=conversion.corpus,
                split=split,
            )
            quality = {} if place.judged is None else place.judged.named()
            yield Segment(meta, coded.stored, quality)
    if num_float32:
        notes.append(
            f"float32_segments: {num_float32} of {len(places)} segments are stored as float32"
        )
    if events.num_withheld:
        notes.append(f"texts_withheld: {events.num_withheld} annotation texts are no known labels")
    return _row(
        prepared, measured, places=places, events=events.kept, notes=notes, profile=profile
    ) | {"corpus": conversion.corpus, "split": split}


def _row(
    prepared: Prepared,
    measured: Measured,
    *,
    places: Sequence[Place],
    events: Sequence[Event],
    notes: Sequence[str],
    profile: Profile,
) -> dict[str, Any]:
    """Return the row of `recordings.parquet`, all but its corpus and split."""
    statistics, statistics_notes = statistics_rows(
        measured.figures, rate_hz=prepared.conditioning.rate_hz, bands=profile.statistics_bands
    )
    return {
        **source_facts(prepared, measured.content_sha256),
        **signal_facts(
            prepared,
            num_times=sum(stop - start for start, stop in (place.spooled for place in places)),
            num_segments=len(places),
            num_runs=places[-1].run + 1,
        ),
        "statistics": statistics,
        "quality": quality_column(prepared, measured),
        "events": [asdict(event) for event in events],
        "notes": [*prepared.notes, *statistics_notes, *notes],
    }


@dataclass(frozen=True)
class _Coder:
    """How the segments of a recording are coded."""

    coding: str
    gain: FloatArray
    offset: FloatArray
    largest: FloatArray
    """(C,) largest step of quantised values."""

    @classmethod
    def of(cls, prepared: Prepared, measured: Measured, profile: Profile) -> "_Coder":
        """Return the coder of a recording."""
        selection, figures = prepared.selection, measured.figures
        largest = largest_steps(
            robust_std=figures.robust_std,
            std=figures.bands[AS_STORED].std,
            lsb_share=profile.lsb_share,
            source_gain=np.abs(selection.gain),
        )
        return cls(profile.coding, selection.gain, selection.offset, largest)

    def code(self, samples: NDArray[Any]) -> Coded:
        """Return spooled samples (T, C) as they are stored."""
        if self.coding == "native":
            return code_native(samples, gain=self.gain, offset=self.offset)
        if self.coding == "float32":
            return code_float32(samples)
        return code_values(samples, largest=self.largest)


def _meta(
    prepared: Prepared,
    place: Place,
    *,
    number: int,
    coded: Coded,
    events: Sequence[Event],
    corpus: str,
    split: str,
) -> SegmentMeta:
    identity, rate_hz = prepared.identity, prepared.conditioning.rate_hz
    start, num_times = place.start_sample, len(coded.stored)
    return SegmentMeta(
        key=segment_key(identity.recording, number),
        corpus=corpus,
        subject=identity.subject,
        recording=identity.recording,
        split=split,
        segment=number,
        run=place.run,
        start_sample=start,
        num_times=num_times,
        sampling_rate_hz=rate_hz,
        channels=prepared.selection.channels,
        dtype=coded.dtype,
        scale=coded.scale,
        offset=coded.offset,
        session=identity.session,
        task=identity.task,
        acquisition_run=identity.run,
        reference=prepared.selection.reference,
        position_frame=prepared.selection.position_frame,
        annotations=inside(events, start_s=start / rate_hz, stop_s=(start + num_times) / rate_hz),
    )
