"""Which recordings of the shard sets a stream uses, and which of their channels.

What is left out is counted by reason and printed at the start of a run: nothing disappears unseen.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.config import AcceptsConfig, LoadConfig
from physioscale.contract import ShardSet, labels_from_json
from physioscale.errors import InputError


@dataclass(frozen=True)
class StreamRecording:
    """A recording that the stream reads. C counts its used channels."""

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
    stored_band_hz: tuple[float | None, float | None]
    columns: NDArray[np.int64]
    """(C,) used columns of the stored signal."""
    stored_channels: int
    channel_names: tuple[str, ...]
    positions_m: NDArray[np.float32]
    """(C, 3), NaN where unknown."""
    mean: NDArray[np.float32]
    """(C,) in the load pipeline's band."""
    std: NDArray[np.float32]
    """(C,) in the load pipeline's band."""


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
    shard_sets: Sequence[ShardSet], *, accepts: AcceptsConfig, load: LoadConfig, split: str
) -> tuple[list[StreamRecording], LeftOut]:
    """Return the recordings of `split` that a recipe can use, with their used channels."""
    selected: list[StreamRecording] = []
    left_out = LeftOut()
    for number, shard_set in enumerate(shard_sets):
        rows = shard_set.recordings.to_pylist()
        for row, facts in enumerate(rows):
            if facts["split"] != split:
                continue
            recording = _select(number, row, facts, accepts, load, left_out)
            if recording is not None:
                selected.append(recording)
    return selected, left_out


def stored_band(facts: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the corners (Hz) of the filters that the conversion applied to a recording."""
    return facts["low_cut_hz"], facts["high_cut_hz"]


def _select(
    number: int,
    row: int,
    facts: Mapping[str, Any],
    accepts: AcceptsConfig,
    load: LoadConfig,
    left_out: LeftOut,
) -> StreamRecording | None:
    rate = float(facts["sampling_rate_hz"])
    least = max(accepts.min_sampling_rate_hz, load.sampling_rate_hz or 0.0)
    if rate < least:
        left_out.recordings[f"rate below {least:g} Hz"] += 1
        return None
    columns = _usable_channels(facts["channels"], accepts, left_out)
    if len(columns) < accepts.min_channels:
        left_out.recordings[f"fewer than {accepts.min_channels} usable channels"] += 1
        return None
    channels = [facts["channels"][column] for column in columns]
    mean, std = _session_statistics(facts, load)
    return StreamRecording(
        shard_set=number,
        row=row,
        recording=facts["recording"],
        corpus=facts["corpus"],
        subject=facts["subject"],
        session=facts["session"],
        task=facts["task"],
        split=facts["split"],
        labels=labels_from_json(facts["labels"]),
        sampling_rate_hz=rate,
        stored_band_hz=stored_band(facts),
        columns=np.array(columns, dtype=np.int64),
        stored_channels=len(facts["channels"]),
        channel_names=tuple(channel["name"] for channel in channels),
        positions_m=np.array(
            [channel["position_m"] or (np.nan,) * 3 for channel in channels], dtype=np.float32
        ),
        mean=mean[columns].astype(np.float32),
        std=std[columns].astype(np.float32),
    )


def _usable_channels(
    channels: Sequence[Mapping[str, Any]], accepts: AcceptsConfig, left_out: LeftOut
) -> list[int]:
    columns = []
    for column, channel in enumerate(channels):
        if channel["type"] not in accepts.channel_types:
            left_out.channels[f"type {channel['type']}"] += 1
        elif channel["unit"] not in accepts.units:
            left_out.channels[f"unit {channel['unit']}"] += 1
        elif accepts.positions and channel["position_m"] is None:
            left_out.channels["no known position"] += 1
        else:
            columns.append(column)
    return columns


def _session_statistics(
    facts: Mapping[str, Any], load: LoadConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and std (all stored channels) in the band that the load pipeline leaves."""
    count = len(facts["channels"])
    if load.normalise != "session":
        return np.zeros(count), np.ones(count)
    stored_low, stored_high = stored_band(facts)
    wanted = (load.low_cut_hz, load.high_cut_hz)
    for band in facts["statistics"]:
        low, high = band["low_hz"] or stored_low, band["high_hz"] or stored_high
        if (low, high) == (wanted[0] or stored_low, wanted[1] or stored_high):
            return np.array(band["mean"]), np.array(band["std"])
    known = ", ".join(
        f"{band['band']} ({band['low_hz']}-{band['high_hz']} Hz)" for band in facts["statistics"]
    )
    raise InputError(
        f"recording {facts['recording']!r}",
        found=f"session statistics for {known or 'no band'}",
        expected=f"those of {wanted[0]}-{wanted[1]} Hz, which load.normalise=session needs",
        do="Add the band to statistics_bands of the profile and convert again.",
    )
