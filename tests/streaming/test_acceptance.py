"""What a recipe accepts, and the message for each field that does not fit."""

from pathlib import Path
from typing import Any

import pytest

from physioscale.config import AcceptsConfig
from physioscale.contract import open_shard_set
from physioscale.errors import InputError
from physioscale.streaming import check_accepts
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

REFUSALS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"kinds": ["roi"]}, r"accepts.kinds: a shard set of kind 'signal'; expected roi"),
    ({}, {"channel_types": ["mag"]}, r"accepts.channel_types: channels of type eeg; expected mag"),
    ({}, {"units": ["uV"]}, r"accepts.units: channels in V; expected uV"),
    (
        {"low_cut_hz": 1.0},
        {"max_low_cut_hz": 0.5},
        r"accepts.max_low_cut_hz: a high-pass at 1 Hz; expected at most 0.5",
    ),
    (
        {"high_cut_hz": 40.0},
        {"min_high_cut_hz": 99.5},
        r"accepts.min_high_cut_hz: a low-pass at 40 Hz; expected at least 99.5",
    ),
    ({"notch_hz": (50.0,)}, {}, r"accepts.notch: shards with a notch filter"),
]


@pytest.mark.parametrize(("written", "accepted", "message"), REFUSALS)
def test_a_shard_set_that_does_not_fit_is_refused_by_field(
    tmp_path: Path, written: dict[str, Any], accepted: dict[str, Any], message: str
) -> None:
    recordings = [SyntheticRecording("a", run_s=(5.0,))]
    truth = write_shard_set(tmp_path / "set", recordings=recordings, **written)
    with pytest.raises(InputError, match=message):
        check_accepts(AcceptsConfig(**accepted), open_shard_set(truth.path))


def test_positions_are_asked_for_only_where_needed(tmp_path: Path) -> None:
    recordings = [SyntheticRecording("a", run_s=(5.0,), num_channels=2, unplaced=2)]
    shard_set = open_shard_set(write_shard_set(tmp_path / "set", recordings=recordings).path)
    check_accepts(AcceptsConfig(), shard_set)
    with pytest.raises(InputError, match=r"accepts.positions: no channel with a known position"):
        check_accepts(AcceptsConfig(positions=True), shard_set)
