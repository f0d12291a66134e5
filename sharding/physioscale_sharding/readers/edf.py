"""EDF, EDF+C, EDF+D, BDF and BDF+ recordings.

In:  a file. Out: `RecordingHeader` and digital samples (C, T), int16 (EDF) or int32 (BDF).

Record onsets of the "+" kinds are read from their time-keeping annotations: where a record begins
more than half a sample (of the fastest channel) later than its run continues, a new run begins. A
file that declares itself continuous but leaves such a gap is split in the same way, with a note. An
onset is known to half a unit of the last decimal that the file writes, so the tolerance is never
below that.

The header is parsed here and not by a library, because libraries refuse or repair files that real
corpora contain (unknown record counts, gaps, commas, one impossible channel).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from physioscale.errors import InputError, MissingInputError
from physioscale_sharding.readers.edf_header import (
    FIXED_BYTES,
    SIGNAL_BYTES,
    EdfHeader,
    SignalField,
    num_signals,
    parse_header,
)
from physioscale_sharding.readers.edf_runs import find_runs
from physioscale_sharding.readers.interface import (
    DigitalArray,
    RecordingHeader,
    RecordLayout,
    Run,
    SourceAnnotation,
    SourceChannel,
    Stream,
    UnusableChannel,
)
from physioscale_sharding.readers.records import read_digital, read_exactly, record_pieces
from physioscale_sharding.readers.tal import RecordTimes, parse_records

_START_DATE_AND_TIME = (168, 16)


class EdfReader:
    """Reads the EDF and BDF family; holds no state."""

    def read_header(
        self, path: Path, *, root: Path | None = None, accept_truncated: bool = False
    ) -> RecordingHeader:
        """See `RecordingReader.read_header`."""
        where = _name(path, root)
        with _opened(path, where) as descriptor:
            header = _read_edf_header(descriptor, where)
            layout, notes = _layout(descriptor, header, where)
            _check_complete(header, layout, where, accept_truncated=accept_truncated)
            times = _read_times(descriptor, header, layout=layout, where=where)
        usable = [s for s in header.signals if not s.is_annotation and not s.fault]
        if not usable:
            raise _no_signals(header, where)
        runs, run_notes = find_runs(
            header,
            times.onsets_s,
            num_records=layout.num_records,
            signals=usable,
            where=where,
        )
        streams = _streams(header, usable, runs)
        unusable = tuple(
            UnusableChannel(index=s.index, label=s.label, reason=s.fault)
            for s in header.signals
            if s.fault and not s.is_annotation
        )
        return RecordingHeader(
            source=where,
            path=path,
            format=header.format,
            streams=streams,
            annotations=times.annotations,
            duration_s=float(header.record_duration_s * layout.num_records),
            num_records_declared=header.num_records,
            num_records_found=layout.num_records,
            unusable_channels=unusable,
            notes=(
                *header.notes,
                *notes,
                *times.notes,
                *run_notes,
                *_unusable_note(unusable),
                *_outside_note(streams[0], times.annotations),
            ),
            layout=layout,
        )

    def read_annotations(
        self, path: Path, *, root: Path | None = None
    ) -> tuple[SourceAnnotation, ...]:
        """See `RecordingReader.read_annotations`."""
        where = _name(path, root)
        with _opened(path, where) as descriptor:
            header = _read_edf_header(descriptor, where)
            layout, _ = _layout(descriptor, header, where)
            _check_complete(header, layout, where, accept_truncated=False)
            return _read_times(descriptor, header, layout=layout, where=where).annotations

    def read_samples(
        self,
        header: RecordingHeader,
        channels: Sequence[SourceChannel],
        *,
        start: int,
        stop: int,
    ) -> DigitalArray:
        """See `RecordingReader.read_samples`."""
        _check_range(header, channels, start=start, stop=stop)
        with _opened(header.path, header.source) as descriptor:
            return read_digital(
                descriptor,
                header.layout,
                channels=channels,
                start=start,
                stop=stop,
                where=header.source,
            )


def same_start(first: Path, second: Path, *, root: Path | None = None) -> bool:
    """Return whether two files name the same start date and time (compared, never kept).

    Raises:
        MissingInputError: one of them does not exist.
        InputError: one of them is not EDF or BDF.
    """
    offset, size = _START_DATE_AND_TIME
    starts = []
    for path in (first, second):
        where = _name(path, root)
        with _opened(path, where) as descriptor:
            num_signals(os.pread(descriptor, FIXED_BYTES, 0), where=where)
            starts.append(read_exactly(descriptor, size=size, offset=offset, where=where))
    return starts[0] == starts[1]


def _name(path: Path, root: Path | None) -> str:
    return path.name if root is None else path.relative_to(root).as_posix()


@contextmanager
def _opened(path: Path, where: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MissingInputError(
            where, found="no such file", expected="a recording", do="Check the path."
        ) from None
    except OSError as error:
        raise InputError(
            where,
            found=f"cannot be opened ({error.strerror})",
            expected="a readable file",
            do="Check its permissions.",
        ) from None
    try:
        yield descriptor
    except OSError as error:
        raise InputError(
            where,
            found=f"cannot be read ({error.strerror})",
            expected="a readable file",
            do="Check the disk and that it is a file.",
        ) from None
    finally:
        os.close(descriptor)


def _read_edf_header(descriptor: int, where: str) -> EdfHeader:
    fixed = os.pread(descriptor, FIXED_BYTES, 0)
    count = num_signals(fixed, where=where)
    return parse_header(
        fixed + os.pread(descriptor, count * SIGNAL_BYTES, FIXED_BYTES), where=where
    )


def _layout(descriptor: int, header: EdfHeader, where: str) -> tuple[RecordLayout, tuple[str, ...]]:
    size = os.fstat(descriptor).st_size - header.data_start_byte
    if header.record_bytes == 0:
        raise _refuse(where, "data records of 0 samples", "at least one sample per record")
    whole = size // header.record_bytes
    found = whole if header.num_records is None else min(whole, header.num_records)
    if found == 0:
        raise _refuse(
            where,
            f"{size} bytes behind the header, no whole data record",
            f"records of {header.record_bytes} bytes",
        )
    notes = []
    if header.num_records is None:
        notes.append(f"record_count_unknown: the header says -1; {found} whole records were found")
    elif found < header.num_records:
        missing = header.num_records - found
        notes.append(f"truncated: {missing} of {header.num_records} declared records are missing")
    rest = size - found * header.record_bytes
    if rest and (header.num_records is None or found == header.num_records):
        notes.append(f"trailing_bytes: {rest} bytes after record {found} were left out")
    return (
        RecordLayout(
            data_start_byte=header.data_start_byte,
            record_bytes=header.record_bytes,
            sample_bytes=header.sample_bytes,
            num_records=found,
        ),
        tuple(notes),
    )


def _check_complete(
    header: EdfHeader, layout: RecordLayout, where: str, *, accept_truncated: bool
) -> None:
    declared = header.num_records
    if declared is not None and layout.num_records < declared and not accept_truncated:
        raise InputError(
            where,
            found=f"truncated: {layout.num_records} whole data records",
            expected=f"the {declared} that its header declares",
            do="Copy the file again, or allow truncated files to keep the whole records.",
        )


def _read_times(
    descriptor: int, header: EdfHeader, *, layout: RecordLayout, where: str
) -> RecordTimes:
    spans = [
        (signal.byte_in_record, signal.samples_per_record * header.sample_bytes)
        for signal in header.signals
        if signal.is_annotation
    ]
    if not spans:
        return RecordTimes(onsets_s=(), annotations=(), notes=())
    labels = frozenset(signal.label for signal in header.signals)
    pieces = record_pieces(descriptor, layout, spans=spans, where=where)
    return parse_records(pieces, labels=labels)


def _streams(
    header: EdfHeader, signals: Sequence[SignalField], runs: Sequence[tuple[Decimal, int, int]]
) -> tuple[Stream, ...]:
    by_samples: dict[int, list[SourceChannel]] = {}
    for signal in signals:
        channel = _channel(signal, header.record_duration_s)
        by_samples.setdefault(signal.samples_per_record, []).append(channel)
    return tuple(
        Stream(
            sampling_rate_hz=channels[0].sampling_rate_hz,
            channels=tuple(channels),
            runs=tuple(
                Run(
                    start_s=float(start_s),
                    start_sample=first * per_record,
                    num_samples=count * per_record,
                )
                for start_s, first, count in runs
            ),
        )
        for per_record, channels in by_samples.items()
    )


def _channel(signal: SignalField, record_duration_s: Decimal) -> SourceChannel:
    gain = (signal.physical[1] - signal.physical[0]) / (signal.digital[1] - signal.digital[0])
    return SourceChannel(
        index=signal.index,
        label=signal.label,
        physical_dimension=signal.physical_dimension,
        transducer=signal.transducer,
        prefilter=signal.prefilter,
        physical_min=float(signal.physical[0]),
        physical_max=float(signal.physical[1]),
        digital_min=signal.digital[0],
        digital_max=signal.digital[1],
        samples_per_record=signal.samples_per_record,
        sampling_rate_hz=float(signal.samples_per_record / Fraction(record_duration_s)),
        gain=float(gain),
        offset=float(signal.physical[0] - gain * signal.digital[0]),
        byte_in_record=signal.byte_in_record,
    )


def _check_range(
    header: RecordingHeader, channels: Sequence[SourceChannel], *, start: int, stop: int
) -> None:
    rates = {channel.sampling_rate_hz for channel in channels}
    if len(rates) != 1:
        raise ValueError(f"{header.source}: channels of {len(rates)} rates; expected one stream's")
    stream = next(s for s in header.streams if s.sampling_rate_hz in rates)
    if not any(
        run.start_sample <= start <= stop <= run.start_sample + run.num_samples
        for run in stream.runs
    ):
        raise ValueError(
            f"{header.source}: samples {start} to {stop} lie in no single run of the "
            f"{stream.num_samples} stored samples ({len(stream.runs)} runs)"
        )


def _unusable_note(unusable: Sequence[UnusableChannel]) -> tuple[str, ...]:
    if not unusable:
        return ()
    first = unusable[0]
    return (
        f"unusable_channels: {len(unusable)} channels cannot be decoded ('{first.label}': "
        f"{first.reason})",
    )


def _outside_note(stream: Stream, annotations: Sequence[SourceAnnotation]) -> tuple[str, ...]:
    last = stream.runs[-1]
    end_s = last.start_s + last.num_samples / stream.sampling_rate_hz
    outside = sum(not 0 <= annotation.onset_s <= end_s for annotation in annotations)
    if not outside:
        return ()
    return (f"annotations_outside: {outside} annotations begin before or after the signal",)


def _no_signals(header: EdfHeader, where: str) -> InputError:
    faults = [s for s in header.signals if not s.is_annotation]
    if faults:
        first = faults[0]
        return _refuse(
            where,
            f"none of {len(faults)} channels can be decoded ('{first.label}': {first.fault})",
            "at least one usable channel",
        )
    return InputError(
        where,
        found="annotations only, no signal",
        expected="a recording with at least one signal",
        do="Name such files in the corpus definition (annotations_pattern) to join them to theirs.",
    )


def _refuse(where: str, found: str, expected: str) -> InputError:
    return InputError(
        where,
        found=found,
        expected=expected,
        do="Copy the file again from its source, or leave it out.",
    )
