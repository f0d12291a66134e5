"""A segment's description: round trip, and everything that is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest

from physioscale.contract import UNITS_OF_TYPE, Annotation, Channel, SegmentMeta
from physioscale.errors import InputError

EEG = Channel("Cz", "eeg", "V", position_m=(0.0, 0.0, 0.1), source="EEG Cz-Ref")
MEG = Channel("MEG0111", "mag", "T", coil_frame=(1.0, 0, 0, 0, 1, 0, 0, 0, 1))
META = SegmentMeta(
    key="rest_000",
    corpus="tiny",
    subject="01",
    recording="sub-01_task-rest",
    split="train",
    segment=0,
    run=0,
    start_sample=0,
    num_times=512,
    sampling_rate_hz=256.0,
    channels=(EEG, MEG),
    dtype="int16",
    scale=(1e-7, 1e-15),
    offset=(0.0, -1e-13),
)


def _fields(**changes: Any) -> dict[str, Any]:
    return {**json.loads(META.to_json()), **changes}


def _parse(fields: Any) -> SegmentMeta:
    return SegmentMeta.from_json(json.dumps(fields).encode(), where="train-000000.tar")


def test_json_gives_the_same_segment_back() -> None:
    meta = replace(
        META,
        session="02",
        task="rest",
        acquisition_run="1",
        reference="Cz",
        position_frame="head",
        repetition_time_s=None,
        annotations=(Annotation(0.25, 0.0, "blink"), Annotation(1.0, 0.5, "Augen \u00f6ffnen")),
    )
    again = SegmentMeta.from_json(meta.to_json(), where="here")
    assert again == meta
    assert again.to_json() == meta.to_json()


def test_json_is_canonical() -> None:
    text = META.to_json().decode()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert ", " not in text
    assert json.loads(text)["schema"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "a.b"}, "sample key 'a.b'"),
        ({"split": "dev"}, "split 'dev'; expected train, val or test"),
        ({"num_times": 0}, "0 samples; expected at least one"),
        ({"segment": -1}, "a negative segment or run number"),
        ({"run": -1}, "a negative segment or run number"),
        ({"start_sample": -5}, "start_sample -5"),
        ({"sampling_rate_hz": 0.0}, "rate 0.0 Hz; expected above 0"),
        ({"sampling_rate_hz": float("nan")}, "rate nan Hz"),
        ({"sampling_rate_hz": float("inf")}, "rate inf Hz"),
        ({"channels": (), "scale": (), "offset": ()}, "no channels; expected at least one"),
        ({"dtype": "float64"}, "dtype 'float64'; expected int16 or float32"),
        ({"scale": (1.0,)}, r"1 scales; expected one per channel \(2\)"),
        ({"offset": (0.0,) * 3}, r"3 offsets; expected one per channel \(2\)"),
        ({"scale": (1.0, 0.0)}, "a scale that is not above 0"),
        ({"scale": (1.0, float("nan"))}, "a scale that is not above 0"),
        ({"offset": (0.0, float("inf"))}, "an offset that is not finite"),
        ({"corpus": ""}, "an empty name"),
        ({"subject": ""}, "an empty name"),
        ({"recording": ""}, "an empty name"),
    ],
)
def test_a_value_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(META, **changes)


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (replace(EEG, type="eegg"), "channel 'Cz' of type 'eegg'; did you mean 'eeg'"),
        (replace(EEG, unit="uV"), r"channel 'Cz' \(eeg\) in 'uV'; expected V"),
        (replace(MEG, unit="V"), r"channel 'MEG0111' \(mag\) in 'V'; expected T"),
        (replace(EEG, name=""), "a channel without a name"),
        (replace(EEG, position_m=(0.0, 0.0, float("nan"))), "position .* of channel 'Cz'"),
        (
            replace(EEG, position_m=(0.0, 0.0)),  # type: ignore[arg-type] # two values on purpose
            "expected three finite values in metres",
        ),
        (replace(MEG, coil_frame=(1.0,) * 8), "coil frame of channel 'MEG0111'"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(channel: Channel, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(META, channels=(channel, MEG))


def test_every_unit_of_every_channel_type_is_taken() -> None:
    for kind, units in UNITS_OF_TYPE.items():
        for unit in units:
            channel = Channel("x", kind, unit)
            replace(META, channels=(channel,), scale=(1.0,), offset=(0.0,))


def test_several_problems_are_counted() -> None:
    with pytest.raises(InputError, match=r"split 'dev' \(and 2 more\)"):
        replace(META, split="dev", num_times=0, run=-1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "train-000000.tar: text that is not JSON"),
        (b"\xff\xfe{}", "text that is not JSON"),
        (b"[]", "train-000000.tar: list; expected a JSON object"),
        (b"{}", "shard schema None; expected schema 1"),
    ],
)
def test_text_that_is_no_meta_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SegmentMeta.from_json(text, where="train-000000.tar")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "shard schema 2; expected schema 1"),
        ({"schema": True}, "shard schema True"),
        ({"sampling_rate": 1}, "unknown field 'sampling_rate'; did you mean 'sampling_rate_hz'"),
        ({"channels": ["Cz", "Pz"]}, "fields that do not fit"),
        ({"channels": [{"name": "Cz"}, {"name": "Pz"}]}, "fields that do not fit"),
        ({"channels": None}, "fields that do not fit"),
        ({"annotations": [{"text": "blink"}]}, "fields that do not fit"),
        ({"annotations": [7]}, "fields that do not fit"),
        ({"scale": 1.0}, "fields that do not fit"),
        ({"num_times": "512"}, "fields that do not fit"),
        ({"sampling_rate_hz": 10**400}, "fields that do not fit"),
        ({"key": 7}, "fields that do not fit"),
        ({"split": "dev"}, "split 'dev'"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _parse(_fields(**changes))


@pytest.mark.parametrize("name", ["key", "channels", "scale", "start_sample"])
def test_a_missing_field_is_named(name: str) -> None:
    fields = _fields()
    del fields[name]
    with pytest.raises(InputError, match=f"no field '{name}'; expected it"):
        _parse(fields)
