"""Which files of a corpus are recordings, by the end of their name.

Readable formats are those that `readers` takes; the others are known, so that a file in one of them
is reported instead of passed over.
"""

from physioscale_sharding.corpus.walk import LINK_TO_FOLDER, UNREADABLE_FOLDER
from physioscale_sharding.readers import READABLE_SUFFIXES

_OTHER_FORMATS = {
    ".vhdr": "BrainVision",
    ".set": "EEGLAB",
    ".fif": "FIF",
    ".fif.gz": "FIF",
    ".gdf": "GDF",
    ".cnt": "CNT",
    ".hea": "WFDB",
    ".nwb": "NWB",
    ".xdf": "XDF",
    ".trc": "Micromed",
    ".edf.gz": "compressed EDF",
    ".bdf.gz": "compressed BDF",
}


def is_readable(path: str) -> bool:
    """Return whether the name is that of a recording that a reader takes."""
    return path.lower().endswith(READABLE_SUFFIXES)


def unread_format(path: str) -> str:
    """Return the format's name for recordings that no reader takes yet, or ""."""
    name = path.lower()
    return next((form for end, form in _OTHER_FORMATS.items() if name.endswith(end)), "")


def is_reportable(path: str, reason: str) -> bool:
    """Return whether a refused path may be a recording or hide some, so that it is reported."""
    hides = reason == LINK_TO_FOLDER or reason.startswith(UNREADABLE_FOLDER)
    return hides or is_readable(path) or bool(unread_format(path))


def why_unread(path: str) -> str:
    """Return the reason for rejecting a recording of a known format that no reader takes."""
    return f"{unread_format(path)} is not read; EDF and BDF are"
