"""Damage files on purpose, as discs, networks and careless exports do.

In:  a path of a file that exists. Out: the same file, changed in place.
"""

import os
from pathlib import Path

from physioscale.testing.edf_bytes import CHANNEL_FIELDS, FILE_FIELDS

_NUM_SIGNALS_SLICE = slice(252, 256)


def truncate(path: Path, *, keep_share: float) -> int:
    """Cut the file's end off and return the number of bytes left.

    Raises:
        ValueError: `keep_share` is outside [0, 1].
    """
    if not 0 <= keep_share <= 1:
        raise ValueError(f"keep_share is {keep_share:g}; expected 0 to 1")
    num_bytes = int(path.stat().st_size * keep_share)
    os.truncate(path, num_bytes)
    return num_bytes


def overwrite(path: Path, data: bytes, *, offset: int) -> None:
    """Replace the bytes at `offset` (from the end where negative); the length stays.

    Raises:
        ValueError: the bytes would not lie inside the file.
    """
    size = path.stat().st_size
    start = offset if offset >= 0 else size + offset
    if start < 0 or start + len(data) > size:
        raise ValueError(
            f"{len(data)} bytes at {offset} lie outside the {size} bytes of {path.name}"
        )
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def patch_header(path: Path, field: str, *, text: str, channel: int | None = None) -> None:
    """Write `text` into one header field of an EDF or BDF file, whatever it then means.

    `field` is a key of `FILE_FIELDS`, or with `channel` one of `CHANNEL_FIELDS`.

    Raises:
        ValueError: no such field or channel, or the text is wider than the field.
    """
    fields = FILE_FIELDS if channel is None else CHANNEL_FIELDS
    if field not in fields:
        raise ValueError(f"no header field '{field}'; choose from {', '.join(fields)}")
    width = fields[field]
    encoded = text.encode("latin-1")
    if len(encoded) > width:
        raise ValueError(f"header field {field}: {text!r} is longer than its {width} bytes")
    overwrite(path, encoded.ljust(width), offset=_field_offset(path, field, channel))


def _field_offset(path: Path, field: str, channel: int | None) -> int:
    if channel is None:
        return _width_before(FILE_FIELDS, field)
    with path.open("rb") as file:
        num_signals = int(file.read(256)[_NUM_SIGNALS_SLICE])
    if not 0 <= channel < num_signals:
        raise ValueError(f"no channel {channel} in {path.name}; it has {num_signals}")
    # A field's values of all channels stand together, before the next field's.
    block = 256 + num_signals * _width_before(CHANNEL_FIELDS, field)
    return block + channel * CHANNEL_FIELDS[field]


def _width_before(fields: dict[str, int], name: str) -> int:
    names = list(fields)
    return sum(fields[before] for before in names[: names.index(name)])
