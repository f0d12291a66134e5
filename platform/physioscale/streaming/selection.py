"""Which recordings of the shard sets a stream uses, and which of their channels.

Decided on the tables alone, before any sample is read: the split, what the user selects
(`data.select`), what the recipe accepts (`accepts`), and the channels that it asks for by name
(`load.channels`, `load.reference`). What is left out is counted by reason and printed at the start
of a run: nothing disappears unseen.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from physioscale.config import AcceptsConfig, RunConfig, SelectConfig
from physioscale.contract import ShardSet, labels_from_json
from physioscale.errors import InputError, suggest
from physioscale.streaming.normalisation import corpus_statistics, session_statistics

AVERAGE = "average"


class StoredFilters(NamedTuple):
    """What the conversion did to a recording's signals."""

    low_cut_hz: float | None
    high_cut_hz: float | None
    notch_hz: tuple[float, ...]


@dataclass(frozen=True)
class StreamRecording:
    """A recording that the stream reads.

    C counts the channels that the model gets, R those read beside them to be subtracted.
    """

    shard_set: int
    """Number of its shard set in the configuration's order."""
    row: int
    """Its row in that set's recordings.parquet."""
    recording: str
    corpus: str
    subject: str
    session: str | None
    task: str | None
    split: str
    labels: Mapping[str, str | float | None]
    sampling_rate_hz: float
    stored: StoredFilters
    columns: NDArray[np.int64]
    """(C + R,) columns of the stored signal that are read, the reference channels last."""
    stored_channels: int
    channel_names: tuple[str, ...]
    """C names."""
    positions_m: NDArray[np.float32]
    """(C, 3), NaN where unknown."""
    mean: NDArray[np.float32]
    """(C,) to be subtracted by the load pipeline."""
    std: NDArray[np.float32]
    """(C,) to be divided by."""

    @property
    def num_references(self) -> int:
        """R: channels that are read only to be subtracted."""
        return len(self.columns) - len(self.channel_names)


@dataclass
class LeftOut:
    """Counts of what a stream does not use."""

    recordings: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)

    def describe(self) -> list[str]:
        """Return a line per reason."""
        lines = [f"left out: {count} recordings ({why})" for why, count in self.recordings.items()]
        return lines + [
            f"left out: {count} channels ({why})" for why, count in self.channels.items()
        ]


def select_recordings(
    shard_sets: Sequence[ShardSet], *, config: RunConfig, split: str
) -> tuple[list[StreamRecording], LeftOut]:
    """Return the recordings of `split` that a run can use, with their used channels.

    Raises:
        InputError: a label, quality figure or band of statistics that the shard sets do not have.
    """
    selected: list[StreamRecording] = []
    left_out = LeftOut()
    for number, shard_set in enumerate(shard_sets):
        rows = shard_set.recordings.to_pylist()
        _check_names(config.data.select, rows, where=str(shard_set.path))
        for row, facts in enumerate(rows):
            if facts["split"] != split:
                continue
            recording = _select(shard_set, facts, (number, row), config=config, left_out=left_out)
            if recording is not None:
                selected.append(recording)
    return selected, left_out


def _select(
    shard_set: ShardSet,
    facts: Mapping[str, Any],
    place: tuple[int, int],
    *,
    config: RunConfig,
    left_out: LeftOut,
) -> StreamRecording | None:
    accepts, load = config.accepts, config.load
    labels = labels_from_json(facts["labels"])
    reason = next(_unselected(facts, labels, config), None)
    if reason is None:
        usable = _usable_channels(facts, accepts, config.data.select, left_out)
        columns, reason = _named_channels(facts, usable, config)
    if reason is not None:
        left_out.recordings[reason] += 1
        return None
    references = [] if load.reference == [AVERAGE] else load.reference
    kept = columns[: len(columns) - len(references)]
    channels = [facts["channels"][column] for column in kept]
    mean, std = _statistics(shard_set, facts, config)
    return StreamRecording(
        shard_set=place[0],
        row=place[1],
        recording=facts["recording"],
        corpus=facts["corpus"],
        subject=facts["subject"],
        session=facts["session"],
        task=facts["task"],
        split=facts["split"],
        labels=labels,
        sampling_rate_hz=float(facts["sampling_rate_hz"]),
        stored=StoredFilters(
            facts["low_cut_hz"], facts["high_cut_hz"], tuple(facts["notch_hz"] or ())
        ),
        columns=np.array(columns, dtype=np.int64),
        stored_channels=len(facts["channels"]),
        channel_names=tuple(channel["name"] for channel in channels),
        positions_m=np.array(
            [channel["position_m"] or (np.nan,) * 3 for channel in channels], dtype=np.float32
        ),
        mean=mean[kept].astype(np.float32),
        std=std[kept].astype(np.float32),
    )


def _unselected(
    facts: Mapping[str, Any], labels: Mapping[str, Any], config: RunConfig
) -> Iterator[str]:
    """Yield why a recording is left out, before its channels are looked at."""
    select = config.data.select
    if select.corpora is not None and facts["corpus"] not in select.corpora:
        yield "corpus not selected"
    if select.tasks is not None and facts["task"] not in select.tasks:
        yield "task not selected"
    for label, values in select.labels.items():
        if _as_text(labels.get(label)) not in values:
            yield f"label {label} not selected"
    least = max(config.accepts.min_sampling_rate_hz, config.load.sampling_rate_hz or 0.0)
    if facts["sampling_rate_hz"] < least:
        yield f"rate below {least:g} Hz"


def _usable_channels(
    facts: Mapping[str, Any], accepts: AcceptsConfig, select: SelectConfig, left_out: LeftOut
) -> list[int]:
    quality = {figure["name"]: figure["values"] for figure in facts["quality"]}
    columns = []
    for column, channel in enumerate(facts["channels"]):
        poor = [name for name, most in select.max_quality.items() if quality[name][column] > most]
        if channel["type"] not in accepts.channel_types:
            left_out.channels[f"type {channel['type']}"] += 1
        elif channel["unit"] not in accepts.units:
            left_out.channels[f"unit {channel['unit']}"] += 1
        elif accepts.positions and channel["position_m"] is None:
            left_out.channels["no known position"] += 1
        elif poor:
            left_out.channels[f"quality: {poor[0]} above {select.max_quality[poor[0]]:g}"] += 1
        else:
            columns.append(column)
    return columns


def _named_channels(
    facts: Mapping[str, Any], usable: list[int], config: RunConfig
) -> tuple[list[int], str | None]:
    """Return the columns to read (references last), or why the recording is left out."""
    load, least = config.load, config.accepts.min_channels
    names = {facts["channels"][column]["name"]: column for column in reversed(usable)}
    # A reference may be of a type or place that the model does not take (an ear electrode).
    every = {c["name"]: column for column, c in reversed(list(enumerate(facts["channels"])))}
    references = [] if load.reference == [AVERAGE] else load.reference
    for name in (name for name in load.channels or [] if name not in names):
        return [], f"no usable channel {name}"
    for name in (name for name in references if name not in every):
        return [], f"no reference channel {name}"
    columns = usable if load.channels is None else [names[name] for name in load.channels]
    if len(columns) < least:
        return [], f"fewer than {least} usable channels"
    return [*columns, *(every[name] for name in references)], None


def _statistics(
    shard_set: ShardSet, facts: Mapping[str, Any], config: RunConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and std of all stored channels, as load.normalise asks for."""
    load, count = config.load, len(facts["channels"])
    if load.normalise == "session":
        return session_statistics(facts, load)
    if load.normalise == "corpus":
        types = [channel["type"] for channel in facts["channels"]]
        return corpus_statistics(shard_set, types, load)
    return np.zeros(count), np.ones(count)


def _check_names(select: SelectConfig, rows: Sequence[Mapping[str, Any]], *, where: str) -> None:
    """Refuse to select by labels or figures that a shard set does not know."""
    if select.labels:
        known = sorted({label for row in rows for label in labels_from_json(row["labels"])})
        _refuse_unknown("data.select.labels", select.labels, known, where=where)
    if select.max_quality:
        per_row = [{figure["name"] for figure in row["quality"]} for row in rows]
        figures = sorted(set.intersection(*per_row)) if per_row else []
        _refuse_unknown("data.select.max_quality", select.max_quality, figures, where=where)


def _refuse_unknown(
    key: str, wanted: Mapping[str, object], known: Sequence[str], *, where: str
) -> None:
    for name in (name for name in wanted if name not in known):
        raise InputError(
            f"{key}, {where}",
            found=f"{name!r}{suggest(name, known)}",
            expected=f"one of {', '.join(known) or 'none: the shard set has none'}",
            do="Correct the name.",
        )


def _as_text(value: str | float | None) -> str | None:
    # Numbers of a participants table come as floats: "18" selects 18.0.
    return f"{value:g}" if isinstance(value, float) else value
