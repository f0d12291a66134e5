"""Statistics that a load pipeline normalises with, looked up in the tables of a shard set.

Both kinds are in the channels' unit and belong to the band that the pipeline leaves: those of a
recording ("session") come from `recordings.parquet`, one value per channel; those of a corpus from
`statistics/<band>.json`, one value per channel type, pooled over the training subjects only.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.config import LoadConfig
from physioscale.contract import STATISTICS_FOLDER, ShardSet
from physioscale.contract.dataset import read_listed_file
from physioscale.errors import InputError

FloatArray = NDArray[np.float64]
Band = tuple[float | None, float | None]


def session_statistics(facts: Mapping[str, Any], load: LoadConfig) -> tuple[FloatArray, FloatArray]:
    """Return mean and std (all stored channels) of one recording in the pipeline's band.

    Raises:
        InputError: the band was not measured at conversion.
    """
    for band in facts["statistics"]:
        if _same_band((band["low_hz"], band["high_hz"]), load, stored=_stored(facts)):
            return np.array(band["mean"]), np.array(band["std"])
    bands = [(band["band"], band["low_hz"], band["high_hz"]) for band in facts["statistics"]]
    raise _missing(f"recording {facts['recording']!r}", bands, load)


def corpus_statistics(
    shard_set: ShardSet, channel_types: Sequence[str], load: LoadConfig
) -> tuple[FloatArray, FloatArray]:
    """Return mean and std per channel of the given types, pooled over the training subjects.

    Raises:
        InputError: the band was not measured at conversion, or not for a type.
    """
    found = []
    for name in sorted(shard_set.info.files):
        if not name.startswith(f"{STATISTICS_FOLDER}/"):
            continue
        facts = json.loads(read_listed_file(shard_set, name))
        found.append((facts["band"], facts["low_hz"], facts["high_hz"]))
        if _same_band((facts["low_hz"], facts["high_hz"]), load, stored=(None, None)):
            pooled = facts["channel_types"]
            missing = sorted(set(channel_types) - set(pooled))
            if missing:
                break
            return (
                np.array([pooled[kind]["mean"] for kind in channel_types]),
                np.array([pooled[kind]["std"] for kind in channel_types]),
            )
    raise _missing(str(shard_set.path), found, load)


def _same_band(band: Band, load: LoadConfig, *, stored: Band) -> bool:
    """Whether a measured band is what the pipeline leaves; a corner left open is the stored one."""
    wanted = (load.low_cut_hz or stored[0], load.high_cut_hz or stored[1])
    return (band[0] or stored[0], band[1] or stored[1]) == wanted


def _stored(facts: Mapping[str, Any]) -> Band:
    return facts["low_cut_hz"], facts["high_cut_hz"]


def _missing(
    where: str, bands: Iterable[tuple[str, float | None, float | None]], load: LoadConfig
) -> InputError:
    known = ", ".join(f"{name} ({low}-{high} Hz)" for name, low, high in bands)
    return InputError(
        where,
        found=f"{load.normalise} statistics for {known or 'no band'}",
        expected=f"those of {load.low_cut_hz}-{load.high_cut_hz} Hz, which "
        f"load.normalise={load.normalise} needs",
        do="Add the band to statistics_bands of the profile and convert again.",
    )
