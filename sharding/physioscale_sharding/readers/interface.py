"""What every reader of recordings yields, whatever the file format.

In:  a path of one recording.
Out: a `RecordingHeader` (facts only, no samples) and, on request, digital samples (C, T) int16 or
     int32 of any sample range; physical = digital * gain + offset, in the unit that the file names.

A recording holds one `Stream` per sampling rate. Within a stream, samples are counted as they are
stored, from 0; a `Run` is a stretch without a gap and says at which second it begins. Time zero is
the recording's first sample.

What identifies a patient (name, ids, birth date, dates and times of the recording) is never kept:
readers do not decode those fields.

Letters: C channels, T samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

DigitalArray = NDArray[np.int16] | NDArray[np.int32]


@dataclass(frozen=True)
class SourceChannel:
    """One signal of a file, described as the file describes it."""

    index: int
    """Number of the signal in the file, from 0; labels may occur twice, indices do not."""
    label: str
    physical_dimension: str
    """Unit of the physical values, as written ("uV", "mV", "", ...)."""
    transducer: str
    prefilter: str
    physical_min: float
    physical_max: float
    digital_min: int
    digital_max: int
    samples_per_record: int
    sampling_rate_hz: float
    gain: float
    """Physical units per digital step; negative where the file inverts the polarity."""
    offset: float
    """Physical value of digital 0."""
    byte_in_record: int
    """Where the signal's samples begin in each data record."""


@dataclass(frozen=True)
class Run:
    """A stretch of a stream without a gap."""

    start_s: float
    """Time of the first sample, seconds from the recording's first sample, gaps included."""
    start_sample: int
    """Number of the first sample among the stored samples, gaps not counted."""
    num_samples: int


@dataclass(frozen=True)
class Stream:
    """The channels of a recording that share a sampling rate."""

    sampling_rate_hz: float
    channels: tuple[SourceChannel, ...]
    runs: tuple[Run, ...]
    """In time order; together they hold every stored sample once."""

    @property
    def num_samples(self) -> int:
        """Stored samples per channel, over all runs."""
        return sum(run.num_samples for run in self.runs)


@dataclass(frozen=True)
class SourceAnnotation:
    """A text that the file (or a table beside it) ties to a time."""

    onset_s: float
    """Seconds from the recording's first sample, gaps included; may be negative."""
    duration_s: float
    """Seconds; 0 for an instant or where none is given."""
    text: str
    channel: str | None = None
    """Label of the channel that the text is about; None for the whole recording."""


@dataclass(frozen=True)
class UnusableChannel:
    """A signal that cannot be decoded, while its neighbours can."""

    index: int
    label: str
    reason: str


@dataclass(frozen=True)
class RecordLayout:
    """Where the data records lie in a file that interleaves its channels in records."""

    data_start_byte: int
    record_bytes: int
    sample_bytes: int
    """Bytes of one sample: 2 (int16) or 3 (int24), little endian."""
    num_records: int


@dataclass(frozen=True)
class RecordingHeader:
    """Everything known of a recording before a sample is read."""

    source: str
    """Path relative to the corpus, with "/"."""
    path: Path
    """Where the file lies on this machine; for reading, never for logs or shards."""
    format: str
    """"EDF", "EDF+C", "EDF+D", "BDF", "BDF+C", "BDF+D", ..."""
    streams: tuple[Stream, ...]
    """One for each sampling rate, in the order of their first channel in the file."""
    annotations: tuple[SourceAnnotation, ...]
    """In time order."""
    duration_s: float
    """Seconds of stored signal, gaps not counted."""
    num_records_declared: int | None
    """Data records as the header says; None where it says "unknown"."""
    num_records_found: int
    """Whole data records that the file holds, at most the declared ones."""
    unusable_channels: tuple[UnusableChannel, ...]
    notes: tuple[str, ...]
    """Facts a person should know, each "rule: sentence"; none of them quotes a patient's data."""
    layout: RecordLayout

    @property
    def is_truncated(self) -> bool:
        """Whether records that the header declares are missing."""
        return (self.num_records_declared or 0) > self.num_records_found


class RecordingReader(Protocol):
    """Reads one family of file formats."""

    def read_header(
        self, path: Path, *, root: Path | None = None, accept_truncated: bool = False
    ) -> RecordingHeader:
        """Return the facts of the recording at `path`.

        Args:
            path: the file.
            root: the corpus folder; messages and `source` name the file relative to it (None: by
                its bare name).
            accept_truncated: take the whole data records of a file that ends early.

        Raises:
            MissingInputError: there is no such file.
            InputError: not of this format, damaged, truncated, or without signals.
        """
        ...

    def read_annotations(
        self, path: Path, *, root: Path | None = None
    ) -> tuple[SourceAnnotation, ...]:
        """Return the annotations of a file, which may hold nothing else, in time order.

        Raises:
            MissingInputError: there is no such file.
            InputError: not of this format, or damaged.
        """
        ...

    def read_samples(
        self,
        header: RecordingHeader,
        channels: Sequence[SourceChannel],
        *,
        start: int,
        stop: int,
    ) -> DigitalArray:
        """Return digital samples (C, T) of `channels`, stored samples `start` to `stop` - 1.

        The channels belong to one stream, and the range lies inside one run. Memory is bounded by
        the result and one block, whatever the length of the file.

        Raises:
            ValueError: channels of several rates, or a range outside a run.
            InputError: the file has changed or become unreadable since its header was read.
        """
        ...


def to_physical(digital: DigitalArray, channels: Sequence[SourceChannel]) -> NDArray[np.float64]:
    """Return (C, T) float64 physical values, each channel in its own `physical_dimension`.

    Args:
        digital: (C, T) int16 or int32 as `read_samples` returns them.
        channels: the C channels, in the same order.
    """
    gain = np.array([channel.gain for channel in channels], dtype=np.float64)
    offset = np.array([channel.offset for channel in channels], dtype=np.float64)
    return digital * gain[:, np.newaxis] + offset[:, np.newaxis]
