"""Where the electrodes of a recording lie.

In:  the meaning of each channel's label, and optionally electrode positions measured with it.
Out: one frame for the recording and, per channel, (x, y, z) in metres or None.

Order of sources: measured positions (a BIDS electrodes table) in their own coordinate system; else
the named montage in its own frame (the default is colin27_1005: x to the right, y to the front, z
up, in metres); else absent. Sources are never mixed within a recording, since their frames differ.
A bipolar derivation lies at the midpoint of its two electrodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from physioscale_sharding.standardise.caps import Position, montage_positions
from physioscale_sharding.standardise.names import ChannelName

DEFAULT_MONTAGE = "colin27_1005"


@dataclass(frozen=True)
class ElectrodeTable:
    """Positions measured with a recording."""

    frame: str
    """Name of the coordinate system."""
    xyz_m: Mapping[str, Position]
    """(x, y, z) in metres by electrode name, as the table writes the name."""


@dataclass(frozen=True)
class SensorPositions:
    """Positions of all channels of a recording."""

    frame: str
    """Montage or coordinate system that all positions refer to."""
    xyz_m: tuple[Position | None, ...]
    """Per channel; None where it has no electrode, or no position in this frame."""
    absent: tuple[str, ...]
    """Names of the EEG channels without a position."""


def locate(
    channels: Sequence[ChannelName],
    *,
    montage: str = DEFAULT_MONTAGE,
    measured: ElectrodeTable | None = None,
) -> SensorPositions:
    """Return where each channel lies.

    Args:
        channels: the channels of one recording.
        montage: named montage for recordings without measured positions; electrodes that belong to
            a cap of their own ("biosemi128:A1") are looked up in that cap instead.
        measured: positions that came with the recording.

    Raises:
        InputError: an unknown montage.
    """
    if measured is not None:
        frame, table = measured.frame, dict(measured.xyz_m)
        # Tables name electrodes by label ("EEG Fp1") or by site, so both are looked up.
        places = [_place((c.source, c.name), table) or _midpoint(c, table) for c in channels]
    else:
        frame = _cap_of(channels) or montage
        table = dict(montage_positions(frame))
        places = [_midpoint(channel, table) for channel in channels]
    absent = tuple(
        channel.name
        for channel, place in zip(channels, places, strict=True)
        if channel.type == "eeg" and place is None
    )
    return SensorPositions(frame=frame, xyz_m=tuple(places), absent=absent)


def _cap_of(channels: Sequence[ChannelName]) -> str:
    electrodes = (electrode for channel in channels for electrode in channel.electrodes)
    return next((name.partition(":")[0] for name in electrodes if ":" in name), "")


def _place(names: Sequence[str], table: Mapping[str, Position]) -> Position | None:
    return next((table[name] for name in names if name in table), None)


def _midpoint(channel: ChannelName, table: Mapping[str, Position]) -> Position | None:
    places = [_place((name, name.partition(":")[2]), table) for name in channel.electrodes]
    known = [place for place in places if place is not None]
    if not known or len(known) < len(places):
        return None
    x, y, z = (sum(axis) / len(known) for axis in zip(*known, strict=True))
    return (x, y, z)
