"""Gap-free stretches of an EDF+ or BDF+ file, from the onsets of its data records.

In:  the onset of each record, exact decimals in seconds, or None where a record gives none.
Out: runs as (start in seconds from the first record, first record, number of records).

Each record is compared with its run's start plus a whole number of record durations, not with the
record before it, so that small shifts cannot add up unseen: every sample's time is right to the
tolerance. That is half a sample of the fastest channel, or half a unit of the last decimal that
the file writes, whichever is larger.
"""

from collections.abc import Sequence
from decimal import Decimal

from physioscale.errors import InputError
from physioscale_sharding.readers.edf_header import EdfHeader, SignalField

RecordRun = tuple[Decimal, int, int]


def find_runs(
    header: EdfHeader,
    onsets_s: Sequence[Decimal | None],
    *,
    num_records: int,
    signals: Sequence[SignalField],
    where: str,
) -> tuple[tuple[RecordRun, ...], tuple[str, ...]]:
    """Return the runs of a file, in time order, and the notes about them.

    Args:
        header: the file's header.
        onsets_s: one for each record; empty without an annotation signal.
        num_records: data records that exist.
        signals: the usable signals.
        where: name of the file for messages.

    Raises:
        InputError: a discontinuous file whose records cannot be placed in time.
    """
    whole: tuple[RecordRun, ...] = ((Decimal(0), 0, num_records),)
    if not onsets_s and not header.is_discontinuous:
        return whole, ()
    placed = [onset for onset in onsets_s if onset is not None]
    fault = _missing(onsets_s)
    if not fault:
        tolerance = _tolerance(header, signals, placed)
        runs, fault = _split(placed, header.record_duration_s, tolerance)
    if not fault:
        undeclared = len(runs) > 1 and not header.is_discontinuous
        note = f"undeclared_gaps: {len(runs) - 1} gaps in a file that declares none"
        return runs, (note,) if undeclared else ()
    if header.is_discontinuous:
        raise InputError(
            where,
            found=f"{header.format}, but {fault}",
            expected="an onset for each data record, each after the record before",
            do="Export the recording again as EDF+; as it is, no sample's time is known.",
        )
    return whole, (f"onsets_ignored: {fault}; the file declares that it has no gaps",)


def _missing(onsets_s: Sequence[Decimal | None]) -> str:
    if not onsets_s:
        return "it has no annotation signal"
    missing = [number for number, onset in enumerate(onsets_s) if onset is None]
    if not missing:
        return ""
    return f"{len(missing)} of {len(onsets_s)} data records give no onset (first: {missing[0]})"


def _tolerance(
    header: EdfHeader, signals: Sequence[SignalField], onsets_s: Sequence[Decimal]
) -> Decimal:
    fastest = max(signal.samples_per_record for signal in signals)
    half_sample = header.record_duration_s / (2 * fastest)
    exponents = [onset.as_tuple().exponent for onset in onsets_s]
    finest = min(exponent for exponent in exponents if isinstance(exponent, int))
    return max(half_sample, Decimal(5).scaleb(finest - 1))


def _split(
    onsets_s: Sequence[Decimal], record_duration_s: Decimal, tolerance_s: Decimal
) -> tuple[tuple[RecordRun, ...], str]:
    """Return the runs and "", or no runs and what is wrong with the onsets."""
    first = 0
    runs: list[RecordRun] = []
    for record, onset in enumerate(onsets_s):
        late = onset - onsets_s[first] - (record - first) * record_duration_s
        if late < -tolerance_s:
            begins = f"data record {record} begins at {onset} s, {-late} s before"
            return (), f"{begins} the record in front of it ends"
        if late > tolerance_s:
            runs.append((onsets_s[first] - onsets_s[0], first, record - first))
            first = record
    runs.append((onsets_s[first] - onsets_s[0], first, len(onsets_s) - first))
    return tuple(runs), ""
