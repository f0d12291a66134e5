"""Events of a recording: which texts are labels, and where they lie in a segment.

In:  annotations of the file and of tables beside it (seconds from the recording's first sample).
Out: labelled events for `recordings.parquet`, and per segment the part of each that lies inside.

Labels are the texts of a BIDS events table and those on the corpus's list; any other text of a
file may name a patient and is withheld (counted), unless the profile allows text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from physioscale.contract import Annotation
from physioscale_sharding.corpus import CorpusDefinition, SourceRecording
from physioscale_sharding.readers import SourceAnnotation


@dataclass(frozen=True)
class Event:
    """A labelled stretch; seconds from the recording's first sample."""

    onset_s: float
    duration_s: float
    """0 for an instant."""
    label: str


@dataclass(frozen=True)
class Events:
    """The events of a recording in time order, each once, and how many texts were withheld."""

    kept: tuple[Event, ...]
    num_withheld: int


def gather_events(
    recording: SourceRecording,
    annotations: Sequence[SourceAnnotation],
    *,
    definition: CorpusDefinition,
    allow_text: bool,
) -> Events:
    """Return the events that may be kept.

    Args:
        recording: brings the events of tables and files beside it.
        annotations: those inside the file.
        definition: its list of labels, and whether the tables are those of BIDS.
        allow_text: keep every text.
    """
    listed = frozenset(definition.annotation_labels)
    beside = list(recording.events or ())
    is_table = definition.layout == "bids"
    kept = {_event(item) for item in beside if is_table or allow_text or item.text in listed}
    kept |= {_event(item) for item in annotations if allow_text or item.text in listed}
    total = {_event(item) for item in (*beside, *annotations)}
    ordered = sorted(kept, key=lambda event: (event.onset_s, event.duration_s, event.label))
    return Events(tuple(ordered), len(total - kept))


def inside(events: Sequence[Event], *, start_s: float, stop_s: float) -> tuple[Annotation, ...]:
    """Return the parts of events in [start_s, stop_s), onsets from `start_s`."""
    parts = []
    for event in events:
        end_s = event.onset_s + event.duration_s
        is_instant_inside = event.duration_s == 0 and start_s <= event.onset_s < stop_s
        if is_instant_inside or (event.onset_s < stop_s and end_s > start_s):
            onset_s = max(event.onset_s, start_s)
            duration_s = max(min(end_s, stop_s) - onset_s, 0.0)
            parts.append(Annotation(onset_s - start_s, duration_s, event.label))
    return tuple(parts)


def _event(annotation: SourceAnnotation) -> Event:
    return Event(annotation.onset_s, annotation.duration_s, annotation.text)
