"""The members of one sample against its row of the index and its recording's row."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from physioscale.contract.blocks import BLOCK_BYTES, block_crc32
from physioscale.contract.schema import CRC_MEMBER, META_MEMBER, SIGNAL_MEMBER
from physioscale.contract.segment import SegmentMeta
from physioscale.contract.verify.npy import parse_npy_header
from physioscale.contract.verify.opened import OpenedSet
from physioscale.contract.verify.report import Fault, Faults
from physioscale.errors import InputError

_INDEX_FIELDS = (
    "key",
    "split",
    "recording",
    "segment",
    "run",
    "start_sample",
    "num_times",
    "sampling_rate_hz",
    "dtype",
    "scale",
    "offset",
)
# Fields that the index has too are left out: `tables` compares index and recordings.
_RECORDING_FIELDS = (
    "corpus",
    "subject",
    "session",
    "task",
    "acquisition_run",
    "channels",
    "reference",
    "position_frame",
    "repetition_time_s",
)


@dataclass(frozen=True)
class Sample:
    """A row of the index, and what else is known of its sample."""

    opened: OpenedSet
    shard: str
    row: Mapping[str, Any]
    recording: Mapping[str, Any] | None
    """Its row of `recordings.parquet`; None where there is none."""

    @property
    def key(self) -> str:
        """Key of the sample."""
        return str(self.row["key"])

    def fault(self, message: str, *, offset: int) -> Fault:
        """Return a fault of this sample, at a byte of its shard."""
        return self.opened.fault(self.shard, message, sample=self.key, offset=offset)


def check_member(sample: Sample, name: str, data: bytes, *, offset: int) -> Faults:
    """Yield the faults of one member whose data begin at `offset` of the shard."""
    if name == SIGNAL_MEMBER:
        yield from _check_signal(sample, data, offset)
    elif name == CRC_MEMBER:
        yield from _check_crc(sample, data, offset)
    elif name == META_MEMBER:
        yield from _check_meta(sample, data, offset)


def _check_signal(sample: Sample, data: bytes, offset: int) -> Faults:
    row = sample.row
    dtype, shape = np.dtype(row["dtype"]).str, (row["num_times"], row["num_channels"])
    begin, size = row["signal_offset"] - offset, row["signal_bytes"]
    header = parse_npy_header(data)
    if header is None:
        yield sample.fault("the header of signal.npy is not one that we write", offset=offset)
    elif (header.dtype, header.shape) != (dtype, shape):
        yield sample.fault(
            f"signal.npy holds {header.shape} {header.dtype}; index.parquet says {shape} {dtype}",
            offset=offset,
        )
    elif header.num_bytes != begin:
        yield sample.fault(
            f"the data of signal.npy begin at byte {offset + header.num_bytes}; index.parquet "
            f"says {row['signal_offset']}",
            offset=offset,
        )
    if begin < 0 or begin + size != len(data) or size != _num_bytes(row):
        yield sample.fault(
            f"signal.npy has {len(data)} bytes; index.parquet puts {size} bytes of data at byte "
            f"{row['signal_offset']}",
            offset=offset,
        )
        return
    yield from _check_blocks(sample, memoryview(data)[begin:])


def _num_bytes(row: Mapping[str, Any]) -> int:
    """Return the size of a signal of the row's dtype and shape."""
    return int(np.dtype(row["dtype"]).itemsize * row["num_times"] * row["num_channels"])


def _check_blocks(sample: Sample, values: memoryview) -> Faults:
    row = sample.row
    found, expected = block_crc32(values).tolist(), row["block_crc32"]
    first = row["signal_offset"]
    if len(found) != len(expected):
        yield sample.fault(
            f"index.parquet has {len(expected)} block checksums; the signal has {len(found)} "
            "blocks",
            offset=first,
        )
        return
    damaged = [block for block, crc in enumerate(found) if crc != expected[block]]
    for block in damaged:
        start = first + block * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, first + len(values))
        yield sample.fault(
            f"block {block} of the signal (bytes {start} to {stop - 1}) does not match its "
            "checksum",
            offset=start,
        )
    is_float = row["dtype"] == "float32"
    if not damaged and is_float and not np.isfinite(np.frombuffer(values, "<f4")).all():
        yield sample.fault("the signal holds values that are not finite", offset=first)


def _check_crc(sample: Sample, data: bytes, offset: int) -> Faults:
    header = parse_npy_header(data)
    expected = np.array(sample.row["block_crc32"], dtype="<u4")
    if header is None or (header.dtype, header.shape) != (expected.dtype.str, expected.shape):
        yield sample.fault("the header of crc.npy is not one that we write", offset=offset)
        return
    found = data[header.num_bytes :]
    if found != expected.tobytes():
        pairs = zip(found, expected.tobytes(), strict=False)
        same = next((at for at, (a, b) in enumerate(pairs) if a != b), len(found))
        yield sample.fault(
            "crc.npy holds other checksums than index.parquet",
            offset=offset + header.num_bytes + same,
        )


def _check_meta(sample: Sample, data: bytes, offset: int) -> Faults:
    try:
        meta = SegmentMeta.from_json(data, where=META_MEMBER)
    except InputError as error:
        yield sample.fault(f"meta.json: {error.found}; expected {error.expected}", offset=offset)
        return
    if meta.to_json() != data:
        yield sample.fault("meta.json is not in the form that we write", offset=offset)
    fields = dataclasses.asdict(meta)
    yield from _compare(sample, fields, sample.row, _INDEX_FIELDS, "index.parquet", offset)
    if len(meta.channels) != sample.row["num_channels"]:
        yield sample.fault(
            f"meta.json has {len(meta.channels)} channels; index.parquet says "
            f"{sample.row['num_channels']}",
            offset=offset,
        )
    if sample.recording is not None:
        names = _RECORDING_FIELDS
        yield from _compare(sample, fields, sample.recording, names, "recordings.parquet", offset)


def _compare(
    sample: Sample,
    fields: Mapping[str, Any],
    row: Mapping[str, Any],
    names: tuple[str, ...],
    table: str,
    offset: int,
) -> Faults:
    for name in names:
        found, expected = _plain(fields[name]), _plain(row[name])
        if found == expected:
            continue
        if isinstance(found, list):
            message = f"meta.json and {table} differ in {name}"
        else:
            message = f"meta.json has {name} {found!r}; {table} says {expected!r}"
        yield sample.fault(message, offset=offset)


def _plain(value: Any) -> Any:
    """Return `value` with tuples as lists, at any depth."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
