"""Bytes of a stored signal: npy framing, integer coding and block checksums.

A signal is stored as (times, channels), C order, little endian, int16 or float32, so that a window
of any length is one contiguous read. Checksums are CRC-32 (zlib) over consecutive blocks of
`BLOCK_BYTES` of the array's data, the npy header left out; the last block may be short.
"""

import functools
import io
import zlib
from collections.abc import Sequence
from operator import xor

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 16384

INT16_LIMIT = 32767


def npy_bytes(array: NDArray[np.generic]) -> bytes:
    """Return `array` framed as an npy file, version 1.0, C order, no pickle."""
    stream = io.BytesIO()
    np.lib.format.write_array(
        stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
    )
    return stream.getvalue()


def block_crc32(data: bytes | memoryview) -> NDArray[np.uint32]:
    """Return the CRC-32 of each block of `data`, shape (ceil(len / BLOCK_BYTES),), uint32."""
    view = memoryview(data)
    # An array without rows has no bytes, and a view with a zero in its shape cannot be cast.
    view = view.cast("B") if view.nbytes else memoryview(b"")
    blocks = range(0, len(view), BLOCK_BYTES)
    return np.array([zlib.crc32(view[at : at + BLOCK_BYTES]) for at in blocks], dtype=np.uint32)


def crc32_of_blocks(checksums: Sequence[int]) -> int:
    """Return the CRC-32 of full blocks put together, from the checksums of each.

    One checksum over a whole read can so be compared instead of one per block: appending n zero
    bytes is a linear map of a CRC, and crc(A + B) is that map of crc(A) xor crc(B).
    """
    table0, table1, table2, table3 = _append_block()
    combined = 0
    for checksum in checksums:
        combined = (
            table0[combined & 255]
            ^ table1[combined >> 8 & 255]
            ^ table2[combined >> 16 & 255]
            ^ table3[combined >> 24]
            ^ checksum
        )
    return combined


def encode_int16(
    values: NDArray[np.floating], *, scale: NDArray[np.float64]
) -> NDArray[np.int16] | None:
    """Round (T, C) values to multiples of `scale` (C,), or return None where one does not fit.

    Nothing is clipped: a segment that leaves the range of int16, or holds a value that is not
    finite, has no int16 form. Values and scale are in the channels' units; the result counts steps.
    It is worked out in the values' type: float32 adds 0.004 of a step at most.
    """
    steps = values / scale.astype(values.dtype)
    np.rint(steps, out=steps)
    # Asked this way round, NaN does not fit either: every comparison with it is false.
    if not (steps.min(initial=0) >= -INT16_LIMIT and steps.max(initial=0) <= INT16_LIMIT):
        return None
    return steps.astype("<i2")


def decode(
    stored: NDArray[np.int16] | NDArray[np.float32],
    *,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return (T, C) float32 values in the channels' units from stored (T, C) numbers."""
    return stored.astype(np.float32) * scale + offset


@functools.cache
def _append_block() -> tuple[list[int], list[int], list[int], list[int]]:
    """Return, per byte of a CRC, the table of what it becomes behind a block of zero bytes."""
    zeros, ones = bytes(BLOCK_BYTES), 0xFFFFFFFF
    # zlib inverts the register before and after; undone here, the map is linear.
    images = [zlib.crc32(zeros, (1 << bit) ^ ones) ^ ones for bit in range(32)]
    first, second, third, fourth = (
        [
            functools.reduce(xor, (images[byte + bit] for bit in range(8) if value >> bit & 1), 0)
            for value in range(256)
        ]
        for byte in range(0, 32, 8)
    )
    return first, second, third, fourth
