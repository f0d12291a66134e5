"""Readers of recordings; each yields the same header and digital samples (see `interface`)."""

from pathlib import PurePath

from physioscale.errors import InputError
from physioscale_sharding.readers.edf import EdfReader, same_start
from physioscale_sharding.readers.interface import (
    DigitalArray,
    RecordingHeader,
    RecordingReader,
    RecordLayout,
    Run,
    SourceAnnotation,
    SourceChannel,
    Stream,
    UnusableChannel,
    to_physical,
)

_EDF = EdfReader()
_READERS: dict[str, RecordingReader] = {".edf": _EDF, ".bdf": _EDF}

READABLE_SUFFIXES = tuple(_READERS)
"""File name endings, in lower case, that some reader takes."""


def reader_for(path: PurePath) -> RecordingReader:
    """Return the reader for a file's name (upper or lower case ending).

    Raises:
        InputError: no reader takes files of that ending.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            path.name,
            found=f"a file ending in '{path.suffix}'",
            expected=f"one of {', '.join(READABLE_SUFFIXES)}",
            do="Convert it to EDF first, or leave it out.",
        )
    return reader


__all__ = [
    "READABLE_SUFFIXES",
    "DigitalArray",
    "EdfReader",
    "RecordLayout",
    "RecordingHeader",
    "RecordingReader",
    "Run",
    "SourceAnnotation",
    "SourceChannel",
    "Stream",
    "UnusableChannel",
    "reader_for",
    "same_start",
    "to_physical",
]
