"""Whether a recipe may be trained on a shard set: `accepts` against what the conversion did."""

from collections.abc import Iterator
from typing import Any

from physioscale.config import AcceptsConfig
from physioscale.contract import ShardSet
from physioscale.errors import InputError


def check_accepts(accepts: AcceptsConfig, shard_set: ShardSet) -> None:
    """Refuse a shard set that the recipe cannot use.

    Raises:
        InputError: names the field of `accepts`, what the set has and what the recipe asks.
    """
    for field, found, expected in _differences(accepts, shard_set):
        raise InputError(
            f"{shard_set.path}: accepts.{field}",
            found=found,
            expected=expected,
            do="Convert the corpus with a profile that fits, or choose another recipe.",
        )


def _differences(accepts: AcceptsConfig, shard_set: ShardSet) -> Iterator[tuple[str, str, str]]:
    kind = shard_set.info.kind
    if kind not in accepts.kinds:
        yield "kinds", f"a shard set of kind {kind!r}", _one_of(accepts.kinds)
        return
    rows = shard_set.recordings.select(
        ["low_cut_hz", "high_cut_hz", "notch_hz", "channels"]
    ).to_pylist()
    channels = [channel for row in rows for channel in row["channels"]]
    yield from _channel_differences(accepts, channels)
    low = max((row["low_cut_hz"] or 0.0 for row in rows), default=0.0)
    if accepts.max_low_cut_hz is not None and low > accepts.max_low_cut_hz:
        yield "max_low_cut_hz", f"a high-pass at {low:g} Hz", f"at most {accepts.max_low_cut_hz:g}"
    high = min((row["high_cut_hz"] or float("inf") for row in rows), default=float("inf"))
    if accepts.min_high_cut_hz is not None and high < accepts.min_high_cut_hz:
        yield (
            "min_high_cut_hz",
            f"a low-pass at {high:g} Hz",
            f"at least {accepts.min_high_cut_hz:g}",
        )
    if not accepts.notch and any(row["notch_hz"] for row in rows):
        yield "notch", "shards with a notch filter", "shards without one"


def _channel_differences(
    accepts: AcceptsConfig, channels: list[dict[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    types = sorted({channel["type"] for channel in channels})
    if not set(types) & set(accepts.channel_types):
        yield "channel_types", f"channels of type {_one_of(types)}", _one_of(accepts.channel_types)
        return
    fitting = [channel for channel in channels if channel["type"] in accepts.channel_types]
    units = sorted({channel["unit"] for channel in fitting})
    if not set(units) & set(accepts.units):
        yield "units", f"channels in {_one_of(units)}", _one_of(accepts.units)
    if accepts.positions and all(channel["position_m"] is None for channel in fitting):
        yield "positions", "no channel with a known position", "channels with positions"


def _one_of(names: list[str]) -> str:
    return " or ".join(names) if names else "nothing"
