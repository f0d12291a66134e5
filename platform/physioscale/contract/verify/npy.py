"""The header of an npy file as `npy_bytes` writes it: matched byte by byte, never evaluated."""

import re
from dataclasses import dataclass

_MAGIC = b"\x93NUMPY\x01\x00"
_PREFIX_BYTES = len(_MAGIC) + 2
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<|][a-z][0-9]+)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(?:0|[1-9][0-9]*),|(?:0|[1-9][0-9]*)(?:, (?:0|[1-9][0-9]*))+)\), \} *\n"
)


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the data of a C-order array."""

    dtype: str
    """numpy's own form, byte order included: "<i2"."""
    shape: tuple[int, ...]
    num_bytes: int
    """First byte of the data."""


def parse_npy_header(data: bytes) -> NpyHeader | None:
    """Return the header, or None where it is damaged, of another version or in Fortran order."""
    length = int.from_bytes(data[len(_MAGIC) : _PREFIX_BYTES], "little")
    match = _HEADER.fullmatch(data[_PREFIX_BYTES : _PREFIX_BYTES + length])
    if not data.startswith(_MAGIC) or match is None:
        return None
    sizes = [size for size in match["shape"].decode().split(",") if size]
    return NpyHeader(
        dtype=match["dtype"].decode(),
        shape=tuple(int(size) for size in sizes),
        num_bytes=_PREFIX_BYTES + length,
    )
