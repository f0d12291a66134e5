"""The byte layout of EDF and BDF: header fields, digital samples, annotation lists.

In:  numbers and texts.
Out: bytes as they stand in a file; data records as (R, B) uint8, one row a record.

Letters: R data records, N samples of a channel per record, B bytes of a channel per record.
Source: Kemp et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+), BioSemi's description of BDF.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Field names and widths in bytes, in file order: one block for the file, one for all channels.
FILE_FIELDS = {
    "version": 8,
    "patient": 80,
    "recording": 80,
    "startdate": 8,
    "starttime": 8,
    "header_bytes": 8,
    "reserved": 44,
    "num_records": 8,
    "record_duration": 8,
    "num_signals": 4,
}
CHANNEL_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "prefiltering": 80,
    "samples_per_record": 8,
    "reserved_signal": 32,
}
_NUMBER_WIDTH = 8


@dataclass(frozen=True)
class Annotation:
    """An event of an EDF+ file; `onset_s` counts from the recording's start, gaps included."""

    onset_s: float
    text: str
    duration_s: float | None = None


def number_text(value: float) -> str:
    """Return `value` with as many decimals as fit a header number's 8 characters."""
    for decimals in range(_NUMBER_WIDTH, -1, -1):
        text = f"{value:.{decimals}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        if len(text) <= _NUMBER_WIDTH:
            return text
    raise ValueError(f"{value!r} does not fit the {_NUMBER_WIDTH} characters of a header number")


def header_bytes(fields: Mapping[str, str], channels: Sequence[Mapping[str, str]]) -> bytes:
    """Return the whole header; missing fields are blank, texts that are too long are refused."""
    parts = [_field(fields.get(name, ""), name, width) for name, width in FILE_FIELDS.items()]
    for name, width in CHANNEL_FIELDS.items():
        parts += [_field(channel.get(name, ""), name, width) for channel in channels]
    return b"".join(parts)


def digital_range(*, bits: int) -> tuple[int, int]:
    """Return the least and the greatest two's-complement number of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def record_bytes(digital: NDArray[np.int64], *, bits: int) -> NDArray[np.uint8]:
    """Return digital samples (R, N) as little-endian bytes (R, N * bits / 8) uint8."""
    num_records, num_samples = digital.shape
    words = digital.astype("<i4").view(np.uint8).reshape(num_records, num_samples, 4)
    # The low bytes of a two's-complement word are the narrower word, its sign included.
    return words[:, :, : bits // 8].reshape(num_records, num_samples * bits // 8)


def annotation_bytes(
    annotations: Sequence[Annotation], record_onsets_s: Sequence[float], *, bytes_per_sample: int
) -> NDArray[np.uint8]:
    """Return the annotation signal (R, B) uint8, each row opening with its record's onset.

    An annotation stands in the last record that does not start after it; the rows are as wide as
    the fullest one needs.
    """
    rows = [f"{_onset(onset)}\x14\x14\x00".encode() for onset in record_onsets_s]
    for item in annotations:
        row = max(int(np.searchsorted(record_onsets_s, item.onset_s, side="right")) - 1, 0)
        duration = "" if item.duration_s is None else f"\x15{_decimal(item.duration_s)}"
        rows[row] += f"{_onset(item.onset_s)}{duration}\x14{item.text}\x14\x00".encode()
    longest = max((len(row) for row in rows), default=bytes_per_sample)
    width = -(-longest // bytes_per_sample) * bytes_per_sample
    packed = b"".join(row.ljust(width, b"\x00") for row in rows)
    return np.frombuffer(packed, dtype=np.uint8).reshape(len(rows), width)


def _field(text: str, name: str, width: int) -> bytes:
    # Latin-1, not ASCII: real headers hold the micro sign as one byte.
    encoded = text.encode("latin-1")
    if len(encoded) > width:
        raise ValueError(f"header field {name}: {text!r} is longer than its {width} bytes")
    return encoded.ljust(width)


def _onset(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{_decimal(abs(seconds))}"


def _decimal(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".")
