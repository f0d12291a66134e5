"""What is known of one segment: the content of `<key>.meta.json`.

A segment is a stretch of consecutive samples of one recording; it never spans a gap. Times are in
seconds; `start_sample` counts stored samples from the recording's first sample, gaps included, so
that a segment's place in time is `start_sample / sampling_rate_hz`.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from physioscale.contract.schema import (
    SCHEMA_VERSION,
    SPLITS,
    UNITS_OF_TYPE,
    check_key,
    check_schema,
)
from physioscale.errors import InputError, suggest


@dataclass(frozen=True)
class Channel:
    """One stored channel."""

    name: str
    """Canonical name ("Fp1", "II", "MEG0111")."""
    type: str
    """A key of `UNITS_OF_TYPE`."""
    unit: str
    """Unit of the decoded values."""
    position_m: tuple[float, float, float] | None = None
    """Place of the sensor (m) in the recording's `position_frame`; None where unknown."""
    coil_frame: tuple[float, ...] | None = None
    """MEG: the coil's 3 x 3 orientation in head coordinates, row-major (9 values)."""
    source: str = ""
    """The label in the source file, where it differs from `name`."""


@dataclass(frozen=True)
class Annotation:
    """A labelled stretch inside a segment."""

    onset_s: float
    """Seconds from the segment's first sample."""
    duration_s: float
    """Seconds; 0 for an instant."""
    label: str


@dataclass(frozen=True)
class SegmentMeta:
    """Everything about a segment but its samples."""

    key: str
    corpus: str
    subject: str
    recording: str
    split: str
    segment: int
    """Number of the segment in its recording, from 0."""
    run: int
    """Number of the gap-free stretch of the recording, from 0."""
    start_sample: int
    num_times: int
    sampling_rate_hz: float
    channels: tuple[Channel, ...]
    dtype: str
    """int16 or float32, as stored."""
    scale: tuple[float, ...]
    """Per channel: value = stored * scale + offset (1 and 0 for float32)."""
    offset: tuple[float, ...]
    session: str | None = None
    task: str | None = None
    acquisition_run: str | None = None
    """The `run` entity of BIDS."""
    reference: str | None = None
    position_frame: str | None = None
    repetition_time_s: float | None = None
    """fMRI only; sampling_rate_hz is its inverse."""
    annotations: tuple[Annotation, ...] = ()
    schema: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        _check(self)

    def to_json(self) -> bytes:
        """Return canonical JSON: sorted keys, no spaces, UTF-8."""
        # `dataclasses.asdict` would copy every position, which takes four times as long.
        fields = vars(self) | {
            "channels": [vars(channel) for channel in self.channels],
            "annotations": [vars(annotation) for annotation in self.annotations],
        }
        return json.dumps(
            fields,
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        ).encode()

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> "SegmentMeta":
        """Parse and check `<key>.meta.json`.

        Raises:
            InputError: not JSON, another schema, unknown or missing fields, or values that
                contradict each other.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise InputError(
                where, found=f"text that is not JSON ({error})", expected="meta.json", do=_AGAIN
            ) from None
        if not isinstance(fields, dict):
            raise InputError(
                where, found=type(fields).__name__, expected="a JSON object", do=_AGAIN
            )
        check_schema(fields.get("schema"), where=where)
        _check_names(fields, where=where)
        try:
            fields["channels"] = tuple(_channel(channel) for channel in fields["channels"])
            fields["annotations"] = tuple(Annotation(**note) for note in fields["annotations"])
            fields["scale"] = tuple(fields["scale"])
            fields["offset"] = tuple(fields["offset"])
            return cls(**fields)
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise InputError(
                where,
                found=f"fields that do not fit ({error})",
                expected="a segment's meta",
                do=_AGAIN,
            ) from None


_AGAIN = "Run `physioscale verify` on the folder and convert the corpus again."


def _channel(fields: dict[str, Any]) -> Channel:
    position, frame = fields.get("position_m"), fields.get("coil_frame")
    fields["position_m"] = None if position is None else tuple(position)
    fields["coil_frame"] = None if frame is None else tuple(frame)
    return Channel(**fields)


def _check_names(fields: dict[str, Any], *, where: str) -> None:
    known = {f.name for f in dataclasses.fields(SegmentMeta)}
    required = {f.name for f in dataclasses.fields(SegmentMeta) if f.default is dataclasses.MISSING}
    for name in sorted(set(fields) - known):
        raise InputError(
            where,
            found=f"unknown field {name!r}{suggest(name, known)}",
            expected="the fields of a segment's meta",
            do=_AGAIN,
        )
    for name in sorted(required - set(fields)):
        raise InputError(where, found=f"no field {name!r}", expected="it", do=_AGAIN)


def _check(meta: SegmentMeta) -> None:
    where = f"segment {meta.key!r}"
    check_key(meta.key, where=where)
    problems = [
        *_shape_problems(meta),
        *(problem for channel in meta.channels for problem in _channel_problems(channel)),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(
            where,
            found=problems[0][0] + more,
            expected=problems[0][1],
            do="Mend the converter that wrote it.",
        )


def _shape_problems(meta: SegmentMeta) -> list[tuple[str, str]]:
    count = len(meta.channels)
    checks = [
        (meta.split in SPLITS, f"split {meta.split!r}", "train, val or test"),
        (meta.num_times > 0, f"{meta.num_times} samples", "at least one"),
        (meta.segment >= 0 and meta.run >= 0, "a negative segment or run number", "0 or more"),
        (meta.start_sample >= 0, f"start_sample {meta.start_sample}", "0 or more"),
        (_positive(meta.sampling_rate_hz), f"rate {meta.sampling_rate_hz!r} Hz", "above 0"),
        (count > 0, "no channels", "at least one"),
        (meta.dtype in ("int16", "float32"), f"dtype {meta.dtype!r}", "int16 or float32"),
        (len(meta.scale) == count, f"{len(meta.scale)} scales", f"one per channel ({count})"),
        (len(meta.offset) == count, f"{len(meta.offset)} offsets", f"one per channel ({count})"),
        (all(_positive(scale) for scale in meta.scale), "a scale that is not above 0", "above 0"),
        (all(math.isfinite(o) for o in meta.offset), "an offset that is not finite", "finite"),
        (bool(meta.corpus and meta.subject and meta.recording), "an empty name", "text"),
    ]
    return [(found, expected) for holds, found, expected in checks if not holds]


def _channel_problems(channel: Channel) -> list[tuple[str, str]]:
    name = channel.name
    units = UNITS_OF_TYPE.get(channel.type)
    if units is None:
        near = suggest(channel.type, UNITS_OF_TYPE)
        return [(f"channel {name!r} of type {channel.type!r}{near}", "a known channel type")]
    checks = [
        (bool(name), "a channel without a name", "a name"),
        (
            channel.unit in units,
            f"channel {name!r} ({channel.type}) in {channel.unit!r}",
            " or ".join(units),
        ),
        (
            channel.position_m is None or _finite(channel.position_m, 3),
            f"position {channel.position_m} of channel {name!r}",
            "three finite values in metres, or none",
        ),
        (
            channel.coil_frame is None or _finite(channel.coil_frame, 9),
            f"coil frame of channel {name!r}",
            "nine finite values, or none",
        ),
    ]
    return [(found, expected) for holds, found, expected in checks if not holds]


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _finite(values: tuple[float, ...], count: int) -> bool:
    return len(values) == count and all(math.isfinite(value) for value in values)
