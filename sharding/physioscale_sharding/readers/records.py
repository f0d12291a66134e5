"""Reading data records: bytes at known offsets into digital samples.

In:  an open file descriptor, a `RecordLayout` and channels of one rate.
Out: (C, T) int16 for 2-byte samples, int32 for 3-byte samples.

Whole records are read about `READ_BYTES` at a time; where one record is larger than `BLOCK_BYTES`,
each channel's samples are read alone. Memory beyond the result is therefore bounded. Reads are
`pread`: nothing is mapped, and one descriptor may serve several threads.

Letters: C channels, T samples, R records of a block, N samples of a channel per record.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale_sharding.readers.interface import DigitalArray, RecordLayout, SourceChannel

BLOCK_BYTES = 4 * 2**20
# Whole records are decoded while they are still in the second-level cache.
READ_BYTES = 2**20
# Below this size a record costs less to read whole than to pick a few bytes of it.
_SMALL_RECORD_BYTES = 32 * 2**10


def read_exactly(descriptor: int, *, size: int, offset: int, where: str) -> bytes:
    """Return `size` bytes at `offset`.

    Raises:
        InputError: the file ends before.
    """
    data = os.pread(descriptor, size, offset)
    while len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            raise InputError(
                where,
                found=f"ends at byte {offset + len(data)}",
                expected=f"data up to byte {offset + size}",
                do="The file changed while it was read; run again when its copy is complete.",
            )
        data += more
    return data


def read_digital(
    descriptor: int,
    layout: RecordLayout,
    *,
    channels: Sequence[SourceChannel],
    start: int,
    stop: int,
    where: str,
) -> DigitalArray:
    """Return stored samples `start` to `stop` - 1 of `channels` (all of one rate), (C, T)."""
    shape = (len(channels), stop - start)
    samples: DigitalArray = np.empty(shape, dtype=np.int16)
    if layout.sample_bytes == 3:
        samples = np.empty(shape, dtype=np.int32)
    if not samples.size:
        return samples
    if layout.record_bytes > BLOCK_BYTES:
        _read_picked(
            descriptor, layout, channels=channels, samples=samples, start=start, where=where
        )
    else:
        _read_blocks(
            descriptor, layout, channels=channels, samples=samples, start=start, where=where
        )
    return samples


def record_pieces(
    descriptor: int, layout: RecordLayout, *, spans: Sequence[tuple[int, int]], where: str
) -> Iterator[list[bytes]]:
    """Yield for each data record its bytes in each of `spans`, (first byte, length) in a record."""
    step = 1
    if layout.record_bytes <= _SMALL_RECORD_BYTES:
        step = max(BLOCK_BYTES // max(layout.record_bytes, 1), 1)
    for record in range(0, layout.num_records, step):
        at = layout.data_start_byte + record * layout.record_bytes
        if layout.record_bytes > _SMALL_RECORD_BYTES:
            yield [
                read_exactly(descriptor, size=size, offset=at + first, where=where)
                for first, size in spans
            ]
            continue
        count = min(step, layout.num_records - record)
        block = read_exactly(descriptor, size=count * layout.record_bytes, offset=at, where=where)
        for begin in range(0, len(block), layout.record_bytes):
            yield [block[begin + first : begin + first + size] for first, size in spans]


def _read_blocks(
    descriptor: int,
    layout: RecordLayout,
    *,
    channels: Sequence[SourceChannel],
    samples: DigitalArray,
    start: int,
    where: str,
) -> None:
    # An int32 that ends with a sample of 3 bytes begins a byte before it: in the record, or for
    # the first one in the header.
    ahead = 1 if layout.sample_bytes == 3 else 0
    at = 0
    for record, count, first, last in _spans(
        start,
        start + samples.shape[1],
        per_record=channels[0].samples_per_record,
        most=max(READ_BYTES // layout.record_bytes, 1),
    ):
        data = read_exactly(
            descriptor,
            size=count * layout.record_bytes + ahead,
            offset=layout.data_start_byte + record * layout.record_bytes - ahead,
            where=where,
        )
        num = last - first
        for row, channel in zip(samples, channels, strict=True):
            found: DigitalArray = np.ndarray(
                (count, num),
                dtype=samples.dtype.newbyteorder("<"),
                buffer=data,
                offset=channel.byte_in_record + first * layout.sample_bytes,
                strides=(layout.record_bytes, layout.sample_bytes),
            )
            target = row[at : at + count * num]
            target.reshape(count, num)[...] = found
            if layout.sample_bytes == 3:
                # The byte of the sample before goes, and the sign is extended.
                target >>= 8
        at += count * num


def _spans(
    start: int, stop: int, *, per_record: int, most: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (record, R, first, last): samples [first, last) of each of R records make up the range.

    Args:
        start: first sample of the range.
        stop: the one behind its last.
        per_record: samples in a record.
        most: largest R.
    """
    while start < stop:
        record, first = divmod(start, per_record)
        whole = (stop - start) // per_record
        if first or not whole:
            count, last = 1, min(per_record, first + stop - start)
        else:
            count, last = min(whole, most), per_record
        yield record, count, first, last
        start += count * (last - first)


def _read_picked(
    descriptor: int,
    layout: RecordLayout,
    *,
    channels: Sequence[SourceChannel],
    samples: DigitalArray,
    start: int,
    where: str,
) -> None:
    per_record = channels[0].samples_per_record
    stop = start + samples.shape[1]
    for record in range(start // per_record, -(-stop // per_record)):
        low = max(start, record * per_record)
        high = min(stop, (record + 1) * per_record)
        at = layout.data_start_byte + record * layout.record_bytes
        for row, channel in enumerate(channels):
            inside = channel.byte_in_record + (low - record * per_record) * layout.sample_bytes
            data = read_exactly(
                descriptor,
                size=(high - low) * layout.sample_bytes,
                offset=at + inside,
                where=where,
            )
            piece = np.frombuffer(data, dtype=np.uint8)[np.newaxis]
            values = _decode(piece, sample_bytes=layout.sample_bytes)
            samples[row, low - start : high - start] = values


def _decode(piece: NDArray[np.uint8], *, sample_bytes: int) -> DigitalArray:
    """Return (R * N,) numbers of a piece (R, N * sample_bytes) uint8."""
    if sample_bytes == 2:
        return np.ascontiguousarray(piece).view("<i2").reshape(-1).astype(np.int16, copy=False)
    triples = np.ascontiguousarray(piece).reshape(-1, 3)
    # The three bytes become the upper ones of an int32; the shift back extends the sign.
    wide = np.zeros((len(triples), 4), dtype=np.uint8)
    wide[:, 1:] = triples
    return (wide.view("<i4")[:, 0] >> 8).astype(np.int32, copy=False)
