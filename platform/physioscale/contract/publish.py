"""Writing files so that a reader sees the whole file or none, whatever is killed when."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def publish_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably (temporary file, fsync, rename, fsync)."""
    with publishing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`.

    The temporary name is fixed, so a rerun after a kill overwrites what was left behind. After an
    exception the temporary file is removed and `path` is as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries (new names, renames) to the disk."""
    sync_file(path)
