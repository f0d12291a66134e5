"""Side files of a BIDS tree: which belong to a recording, and what they say.

In:  the relative paths of a tree. Out: the side file of a kind that applies to a recording, and its
content: events, channels, electrode positions in metres, the JSON fields.

The inheritance rule: a side file applies to a recording below its folder when every entity in its
name (task-rest ...) is in the recording's name too. Of several tables the one in the deepest folder
counts; JSON files are merged from the root down, so that the deepest value counts.
Source: BIDS specification 1.9, "The Inheritance Principle".
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physioscale.errors import InputError
from physioscale_sharding.corpus.recording import ChannelRow
from physioscale_sharding.corpus.tables import Table, number, read_table
from physioscale_sharding.readers import SourceAnnotation
from physioscale_sharding.standardise import BIDS_TYPES, ElectrodeTable, Position

_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
_KINDS = (
    "_events.tsv",
    "_channels.tsv",
    "_electrodes.tsv",
    "_coordsystem.json",
    "_eeg.json",
    "_ieeg.json",
)


@dataclass(frozen=True)
class BidsName:
    """A file name in parts."""

    entities: Mapping[str, str]
    """Value by entity, in the order of the name."""
    suffix: str
    """"eeg", "events", ..."""
    extension: str
    """".edf", ".tsv", ..."""


@dataclass(frozen=True)
class _SideFile:
    path: str
    entities: Mapping[str, str]


def parse_name(name: str) -> BidsName | None:
    """Return the parts of a BIDS file name, or None where it is none."""
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    entities: dict[str, str] = {}
    for pair in pairs:
        key, hyphen, value = pair.partition("-")
        if not (hyphen and key.isalnum() and value.replace("+", "").isalnum()) or key in entities:
            return None
        entities[key] = value
    if not suffix.isalnum() or not dot:
        return None
    return BidsName(entities=entities, suffix=suffix, extension=f".{extension}")


class SideFiles:
    """The side files of one tree, looked up by recording."""

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self._root = root
        self._found: dict[tuple[str, str], list[_SideFile]] = defaultdict(list)
        self._json: dict[str, dict[str, Any]] = {}
        for path in paths:
            folder, _, name = path.rpartition("/")
            kind = next((kind for kind in _KINDS if f"_{name}".endswith(kind)), None)
            parsed = parse_name(name)
            if kind and parsed:
                self._found[folder, kind].append(_SideFile(path, parsed.entities))

    def table(self, recording: str, kind: str, *, entities: Mapping[str, str]) -> Table | None:
        """Return the table of a kind ("events", ...) that applies to a recording.

        Raises:
            InputError: two apply equally, or the table is damaged.
        """
        chosen = self._nearest(recording, f"_{kind}.tsv", entities)
        return None if chosen is None else read_table(self._root / chosen.path, where=chosen.path)

    def fields(self, recording: str, kind: str, *, entities: Mapping[str, str]) -> dict[str, Any]:
        """Return the merged JSON fields of a kind ("eeg", "coordsystem") for a recording.

        Raises:
            InputError: a file is not a JSON object.
        """
        merged: dict[str, Any] = {}
        for level in self._levels(recording, f"_{kind}.json", entities):
            for side_file in sorted(level, key=lambda item: (len(item.entities), item.path)):
                merged |= self._read_json(side_file.path)
        return merged

    def electrodes(self, recording: str, entities: Mapping[str, str]) -> ElectrodeTable | None:
        """Return the measured positions of a recording, in the coordinate system they came in.

        Where positions are given in several spaces, those without a space entity count, else the
        first by name.

        Raises:
            InputError: damaged, or in a unit that is not m, cm or mm.
        """
        levels = self._levels(recording, "_electrodes.tsv", entities, spaces=True)
        if not levels:
            return None
        chosen = min(levels[-1], key=lambda item: (item.entities.get("space", ""), item.path))
        table = read_table(self._root / chosen.path, where=chosen.path)
        space = {key: value for key, value in chosen.entities.items() if key == "space"}
        fields = self.fields(recording, "coordsystem", entities={**entities, **space})
        return _electrodes(table, fields)

    def _nearest(self, recording: str, kind: str, entities: Mapping[str, str]) -> _SideFile | None:
        levels = self._levels(recording, kind, entities)
        if not levels:
            return None
        most = max(len(item.entities) for item in levels[-1])
        nearest = [item for item in levels[-1] if len(item.entities) == most]
        if len(nearest) > 1:
            raise InputError(
                nearest[0].path,
                found=f"{nearest[1].path.rpartition('/')[2]} beside it applies to {recording} too",
                expected="one side file of a kind per folder",
                do="Name the entities that tell them apart.",
            )
        return nearest[0]

    def _levels(
        self, recording: str, kind: str, entities: Mapping[str, str], *, spaces: bool = False
    ) -> list[list[_SideFile]]:
        """Return the applicable side files of each folder from the root down, none left out."""
        folders = [""]
        for part in recording.split("/")[:-1]:
            folders.append(f"{folders[-1]}/{part}" if folders[-1] else part)
        levels = []
        for folder in folders:
            level = [
                item
                for item in self._found.get((folder, kind), [])
                if all(
                    entities.get(key) == value or (spaces and key == "space")
                    for key, value in item.entities.items()
                )
            ]
            if level:
                levels.append(level)
        return levels

    def _read_json(self, path: str) -> dict[str, Any]:
        if path not in self._json:
            try:
                content = json.loads((self._root / path).read_text(encoding="utf-8-sig"))
            except (OSError, ValueError) as error:
                raise _damaged(path, f"not JSON ({type(error).__name__})") from None
            if not isinstance(content, dict):
                raise _damaged(path, f"a JSON {type(content).__name__}")
            self._json[path] = content
        return self._json[path]


def events_of_table(table: Table) -> tuple[tuple[SourceAnnotation, ...], tuple[str, ...]]:
    """Return the events of an events table in time order, and a note on rows without one.

    The text is `trial_type`, or `value` where that is absent.

    Raises:
        InputError: no onset column, or an onset or duration that cannot be.
    """
    if "onset" not in table.columns:
        raise _damaged(table.name, f"columns {', '.join(table.columns[:5])}", "a column onset")
    empty: list[str | None] = [None] * len(table.rows)
    columns = {
        name: table.column(name) if name in table.columns else empty
        for name in ("onset", "duration", "trial_type", "value")
    }
    events = []
    for onset, duration, trial_type, value in zip(*columns.values(), strict=True):
        text = trial_type or value
        if onset is None or text is None:
            continue
        onset_s = number(onset)
        duration_s = number(duration or "0")
        if onset_s is None:
            raise _damaged(table.name, f"onset '{onset}'", "seconds")
        if duration_s is None or duration_s < 0:
            raise _damaged(table.name, f"duration '{duration}'", "seconds, 0 or more")
        events.append(SourceAnnotation(onset_s, duration_s, text))
    missing = len(table.rows) - len(events)
    note = f"events_without_label: {missing} of {len(table.rows)} rows have no onset or label"
    return tuple(sorted(events, key=lambda event: event.onset_s)), (note,) if missing else ()


def channels_of_table(table: Table) -> dict[str, ChannelRow]:
    """Return the rows of a channels table by channel name.

    Raises:
        InputError: no name column, or a name that occurs twice.
    """
    if "name" not in table.columns:
        raise _damaged(table.name, f"columns {', '.join(table.columns[:5])}", "a column name")
    empty: list[str | None] = [None] * len(table.rows)
    types, units, states = (
        table.column(column) if column in table.columns else empty
        for column in ("type", "units", "status")
    )
    rows: dict[str, ChannelRow] = {}
    for name, kind, unit, status in zip(table.column("name"), types, units, states, strict=True):
        label = name or ""
        if label in rows:
            raise _damaged(table.name, f"channel '{label}' twice", "one row for each channel")
        known = BIDS_TYPES.get((kind or "").upper(), "unknown")
        rows[label] = ChannelRow(type=known, unit=unit or "", status=(status or "").lower())
    return rows


def _electrodes(table: Table, fields: Mapping[str, Any]) -> ElectrodeTable:
    prefix = next((key[: -len("CoordinateSystem")] for key in fields if _names_system(key)), None)
    if prefix is None:
        raise _damaged(table.name, "no coordinate system beside it", "a *_coordsystem.json")
    unit = fields.get(f"{prefix}CoordinateUnits")
    factor = _METRES.get(str(unit))
    if factor is None:
        raise _damaged(table.name, f"coordinates in '{unit}'", "m, cm or mm")
    missing = {"name", "x", "y", "z"} - set(table.columns)
    if missing:
        raise _damaged(table.name, f"no column {', '.join(sorted(missing))}", "name, x, y, z")
    axes = [[number(value) for value in table.column(axis)] for axis in ("x", "y", "z")]
    places: dict[str, Position] = {}
    for name, x, y, z in zip(table.column("name"), *axes, strict=True):
        if name is None or x is None or y is None or z is None:
            continue
        if not all(math.isfinite(value) for value in (x, y, z)):
            raise _damaged(table.name, f"a position of '{name}' that is not finite", "numbers")
        places[name] = (x * factor, y * factor, z * factor)
    return ElectrodeTable(frame=str(fields[f"{prefix}CoordinateSystem"]), xyz_m=places)


def _names_system(key: str) -> bool:
    return key in ("EEGCoordinateSystem", "iEEGCoordinateSystem")


def _damaged(where: str, found: str, expected: str = "a JSON object") -> InputError:
    return InputError(where, found=found, expected=expected, do="Mend the side file.")
