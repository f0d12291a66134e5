"""What is known of a corpus before a recording is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from physioscale_sharding.corpus.definition import CorpusDefinition
from physioscale_sharding.readers import SourceAnnotation
from physioscale_sharding.standardise import ElectrodeTable

Label = str | float | None
"""A value of a labels table; None where the table says "n/a" or nothing."""


@dataclass(frozen=True)
class ChannelRow:
    """What a channels table says of one channel."""

    type: str
    """A type of `standardise.BIDS_TYPES`, or "unknown"."""
    unit: str
    """As written; "" where not given."""
    status: str
    """"good", "bad", or "" where not given."""


@dataclass(frozen=True)
class SourceRecording:
    """One recording of a corpus, and what the corpus says about it."""

    path: str
    """Relative to the corpus, with "/"."""
    absolute: Path
    subject: str
    session: str | None = None
    task: str | None = None
    run: str | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    """Values of the tables of participants, sessions and recordings, by column."""
    events: tuple[SourceAnnotation, ...] | None = None
    """Labelled times from a table or file beside the recording; None where there is none. Onset and
    duration in seconds, from the recording's first sample."""
    channels: Mapping[str, ChannelRow] | None = None
    """Channels table by label; None where there is none."""
    electrodes: ElectrodeTable | None = None
    """Measured positions in metres; None where there are none."""
    reference: str | None = None
    """Reference electrode as the sidecar states it."""
    line_frequency_hz: float | None = None
    subject_is_public: bool = False
    """Whether `subject` is a pseudonym that the corpus publishes."""
    size_bytes: int = 0
    notes: tuple[str, ...] = ()
    """Facts a person should know, each "rule: sentence"."""


@dataclass(frozen=True)
class Rejected:
    """A file that looks like a recording and is not taken."""

    path: str
    """Relative to the corpus, with "/"."""
    reason: str


@dataclass(frozen=True)
class Corpus:
    """What is in a corpus folder."""

    root: Path
    definition: CorpusDefinition
    recordings: tuple[SourceRecording, ...]
    """Sorted by path."""
    rejected: tuple[Rejected, ...]
    """Sorted by path."""
    notes: tuple[str, ...] = ()
    """Facts about the corpus as a whole (columns left out, tables not found), "rule: sentence"."""
