"""Writing a folder for a user: whole or not at all, and never over something."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from physioscale.errors import InputError


@contextmanager
def placing(target: Path) -> Iterator[Path]:
    """Yield a path to make a folder at; when the block ends, it stands at `target`.

    Written beside the target and renamed, so that an interrupted command leaves nothing.

    Raises:
        InputError: the target exists, or its place cannot be written.
    """
    refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            made = Path(scratch) / target.name
            yield made
            made.rename(target)
    except OSError as error:
        raise InputError(
            str(target),
            found=f"it cannot be written ({error.strerror})",
            expected="a place for a new folder",
            do="Name another folder.",
        ) from None


def refuse_existing(path: Path) -> None:
    """Check that nothing stands where something is about to be written.

    Raises:
        InputError: the path exists.
    """
    if path.exists() or path.is_symlink():
        raise InputError(
            str(path),
            found="it exists already",
            expected="a path where nothing is overwritten",
            do="Choose another name or folder, or move it away.",
        )
