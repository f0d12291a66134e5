"""Which channels of a recording are kept, what they are called, and in which unit.

In:  a recording's header, what the corpus says of its channels, the wanted types.
Out: a `Selection`: one stream (one rate) of channels with names, types, positions and scale to the
     unit that shards hold, and every other channel with the reason why it was dropped.

- A channels table decides the type where it states one, else the label does. The unit is the
  file's; where the file has none that is known, the table's.
- Of wanted channels at several rates, those at the highest are kept.
- Of channels with the same name, the first in the file is kept: names are unique in a recording.
- Channels that a table calls bad are kept and marked (`marked_bad`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import UNITS_OF_TYPE, Channel
from physioscale.errors import InputError
from physioscale_sharding.corpus import ChannelRow, SourceRecording
from physioscale_sharding.readers import RecordingHeader, SourceChannel, Stream
from physioscale_sharding.standardise import (
    ChannelName,
    SensorPositions,
    Unit,
    locate,
    parse_prefilter,
    parse_unit,
    standard_names,
)

FloatArray = NDArray[np.float64]

_FEW = 5


@dataclass(frozen=True)
class Selection:
    """The kept channels of a recording, in file order."""

    stream: Stream
    source: tuple[SourceChannel, ...]
    channels: tuple[Channel, ...]
    gain: FloatArray
    """(C,) stored unit per digital step."""
    offset: FloatArray
    """(C,) value of digital 0 in the stored unit."""
    marked_bad: tuple[bool, ...]
    """Whether the corpus's table calls the channel bad."""
    dropped: tuple[tuple[str, str], ...]
    """(label, reason) of every other channel."""
    reference: str | None
    position_frame: str | None
    low_cut_hz: float | None
    """The highest high-pass corner that the source's header states for a kept channel."""
    high_cut_hz: float | None
    """The lowest low-pass corner that the source's header states for a kept channel."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    source: SourceChannel
    name: ChannelName
    type: str
    unit: Unit
    marked_bad: bool


def select_channels(
    header: RecordingHeader,
    recording: SourceRecording,
    *,
    channel_types: Sequence[str],
    cap: str | None = None,
) -> Selection:
    """Return what is kept of a recording.

    Raises:
        InputError: no channel is left; the message counts the reasons.
    """
    notes: list[str] = []
    candidates = _candidates(header, recording, cap, notes)
    kept, dropped = [], [(c.label, c.reason) for c in header.unusable_channels]
    for candidate in candidates:
        reason = _unwanted(candidate, channel_types)
        if reason:
            dropped.append((candidate.source.label, reason))
        else:
            kept.append(candidate)
    if not kept:
        raise _nothing_left(header.source, dropped, channel_types)
    kept, others = _fastest(kept)
    kept, twice = _first_of_each_name(kept)
    positions = locate([c.name for c in kept], measured=recording.electrodes)
    filters = [parse_prefilter(c.source.prefilter) for c in kept]
    lows = {f.low_cut_hz for f in filters if f.low_cut_hz is not None}
    highs = {f.high_cut_hz for f in filters if f.high_cut_hz is not None}
    return Selection(
        stream=next(s for s in header.streams if kept[0].source in s.channels),
        source=tuple(c.source for c in kept),
        channels=_channels(kept, positions),
        gain=np.array([c.source.gain * c.unit.factor for c in kept]),
        offset=np.array([c.source.offset * c.unit.factor for c in kept]),
        marked_bad=tuple(c.marked_bad for c in kept),
        dropped=(*dropped, *others, *twice),
        reference=recording.reference or _reference(kept),
        position_frame=positions.frame if any(p is not None for p in positions.xyz_m) else None,
        low_cut_hz=max(lows, default=None),
        high_cut_hz=min(highs, default=None),
        notes=(*notes, *_position_note(positions), *_filter_note(lows, highs)),
    )


def _candidates(
    header: RecordingHeader, recording: SourceRecording, cap: str | None, notes: list[str]
) -> list[_Candidate]:
    sources = sorted((c for s in header.streams for c in s.channels), key=lambda c: c.index)
    names = standard_names([source.label for source in sources], cap=cap)
    table = recording.channels
    rows = [None if table is None else table.get(source.label) for source in sources]
    if table is not None:
        missing = [s.label for s, row in zip(sources, rows, strict=True) if row is None]
        if missing:
            notes.append(f"not_in_channels_table: {_listed(missing)}")
    units = [_unit(source, row) for source, row in zip(sources, rows, strict=True)]
    notes += _unit_notes(sources, rows, units)
    return [
        _Candidate(
            source=source,
            name=name,
            type=name.type if row is None or row.type == "unknown" else row.type,
            unit=unit,
            marked_bad=row is not None and row.status == "bad",
        )
        for source, name, row, unit in zip(sources, names, rows, units, strict=True)
    ]


def _unit(source: SourceChannel, row: ChannelRow | None) -> Unit:
    unit = parse_unit(source.physical_dimension)
    if unit.symbol == "unknown" and row is not None:
        return parse_unit(row.unit)
    return unit


def _unit_notes(
    sources: Sequence[SourceChannel], rows: Sequence[ChannelRow | None], units: Sequence[Unit]
) -> list[str]:
    from_table, differing = [], []
    for source, row, unit in zip(sources, rows, units, strict=True):
        stated = parse_unit(row.unit) if row is not None else None
        if stated is None or stated.symbol == "unknown":
            continue
        if parse_unit(source.physical_dimension).symbol == "unknown":
            from_table.append(source.label)
        elif (stated.symbol, stated.factor) != (unit.symbol, unit.factor):
            differing.append(source.label)
    notes = []
    if from_table:
        notes.append(f"unit_from_table: the file states no unit for {_listed(from_table)}")
    if differing:
        notes.append(
            f"unit_differs: the file's unit was taken, not the table's: {_listed(differing)}"
        )
    return notes


def _unwanted(candidate: _Candidate, channel_types: Sequence[str]) -> str:
    """Return why a channel is not kept, or an empty text."""
    kind = candidate.type
    if kind == "unknown":
        return f"type unknown: {candidate.name.remark or 'neither label nor table states it'}"
    if kind not in channel_types:
        return f"type {kind} is not wanted"
    if candidate.unit.symbol not in UNITS_OF_TYPE.get(kind, ()):
        wanted = " or ".join(UNITS_OF_TYPE.get(kind, ()))
        return f"unit '{candidate.unit.source}' is not known to be {wanted}"
    return ""


def _fastest(kept: Sequence[_Candidate]) -> tuple[list[_Candidate], list[tuple[str, str]]]:
    rate_hz = max(c.source.sampling_rate_hz for c in kept)
    others = [
        (c.source.label, f"{c.source.sampling_rate_hz:g} Hz; the others have {rate_hz:g} Hz")
        for c in kept
        if c.source.sampling_rate_hz != rate_hz
    ]
    return [c for c in kept if c.source.sampling_rate_hz == rate_hz], others


def _first_of_each_name(
    kept: Sequence[_Candidate],
) -> tuple[list[_Candidate], list[tuple[str, str]]]:
    first: dict[str, _Candidate] = {}
    twice = []
    for candidate in kept:
        if candidate.name.name in first:
            label = first[candidate.name.name].source.label
            twice.append((candidate.source.label, f"the same name as '{label}', which is kept"))
        else:
            first[candidate.name.name] = candidate
    return list(first.values()), twice


def _channels(kept: Sequence[_Candidate], positions: SensorPositions) -> tuple[Channel, ...]:
    return tuple(
        Channel(
            name=candidate.name.name,
            type=candidate.type,
            unit=candidate.unit.symbol,
            position_m=place,
            source="" if candidate.source.label == candidate.name.name else candidate.source.label,
        )
        for candidate, place in zip(kept, positions.xyz_m, strict=True)
    )


def _reference(kept: Iterable[_Candidate]) -> str | None:
    named = sorted({c.name.reference for c in kept if c.name.reference is not None})
    return ", ".join(named) or None


def _position_note(positions: SensorPositions) -> tuple[str, ...]:
    if not positions.absent:
        return ()
    return (f"position_unknown: {_listed(positions.absent)}",)


def _filter_note(lows: set[float], highs: set[float]) -> tuple[str, ...]:
    if len(lows) < 2 and len(highs) < 2:
        return ()
    return ("filters_differ: the header states several corners; the narrowest band is recorded",)


def _nothing_left(
    where: str, dropped: Sequence[tuple[str, str]], channel_types: Sequence[str]
) -> InputError:
    counts = Counter(reason for _, reason in dropped).most_common(_FEW)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in counts)
    return InputError(
        where,
        found=f"no {' or '.join(channel_types)} channel is left of {len(dropped)} ({reasons})",
        expected="at least one",
        do="Name the channels' types in a channels table, or other channel_types in the profile.",
    )


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _FEW} more" if len(labels) > _FEW else ""
    return f"{len(labels)} channels ({', '.join(labels[:_FEW])}{more})"
