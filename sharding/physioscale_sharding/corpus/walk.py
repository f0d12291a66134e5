"""One walk over a corpus folder.

In:  the folder. Out: every regular file with its size, by relative path, and the names refused.

Links to files are followed only to content inside the folder (git-annex keeps content that way);
links to folders are not followed, so that no recording is met twice and no walk is endless. What is
refused is reported, never raised: one bad name must not end a corpus.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from physioscale.errors import InputError, MissingInputError

LINK_TO_FOLDER = "a link to a folder, which is not followed"
UNREADABLE_FOLDER = "the folder cannot be listed"


@dataclass(frozen=True)
class Tree:
    """The files of a folder."""

    root: Path
    sizes_bytes: Mapping[str, int]
    """Size by relative path (with "/"), sorted by path."""
    refused: Mapping[str, str]
    """Reason by relative path, sorted by path."""


def walk(root: Path, *, skip: frozenset[str] = frozenset()) -> Tree:
    """Return the files below `root`; hidden folders and those named in `skip` are left out.

    Args:
        root: the corpus folder.
        skip: names of folders directly below `root`.

    Raises:
        MissingInputError: there is no such folder.
        InputError: `root` is no folder, or cannot be read.
    """
    if not root.exists():
        raise MissingInputError(
            str(root), found="no such folder", expected="a corpus folder", do="Check the path."
        )
    if not root.is_dir():
        raise InputError(
            str(root), found="a file", expected="a corpus folder", do="Name the folder around it."
        )
    sizes: dict[str, int] = {}
    refused: dict[str, str] = {}
    inside = root.resolve()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if not folder and entry.name in skip:
                        continue
                    path = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith("."):
                            pending.append(f"{path}/")
                        continue
                    reason, size = _examine(entry, inside)
                    if reason:
                        refused[_printable(path)] = reason
                    else:
                        sizes[path] = size
        except OSError as error:
            if not folder:
                raise InputError(
                    str(root),
                    found=f"cannot be listed ({error.strerror})",
                    expected="a readable folder",
                    do="Check its permissions.",
                ) from None
            refused[_printable(folder)] = f"{UNREADABLE_FOLDER} ({error.strerror})"
    return Tree(
        root=root, sizes_bytes=dict(sorted(sizes.items())), refused=dict(sorted(refused.items()))
    )


def leaves_tree(path: str) -> bool:
    """Return whether a relative path written in a table points outside the folder."""
    parts = path.replace("\\", "/").split("/")
    return path.startswith("/") or ".." in parts or (len(path) > 1 and path[1] == ":")


def _examine(entry: os.DirEntry[str], inside: Path) -> tuple[str, int]:
    """Return ("", size) for a file to take, or (reason, 0)."""
    try:
        return _examine_readable(entry, inside)
    except OSError as error:
        return f"cannot be examined ({error.strerror})", 0


def _examine_readable(entry: os.DirEntry[str], inside: Path) -> tuple[str, int]:
    if _printable(entry.name) != entry.name:
        return "its name is not printable UTF-8", 0
    if entry.is_symlink():
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            return "a link to content that is not here (git-annex: `datalad get`)", 0
        if not target.is_relative_to(inside):
            return "a link that leaves the corpus folder", 0
        if target.is_dir():
            return LINK_TO_FOLDER, 0
    if not entry.is_file():
        return "not a regular file", 0
    return "", entry.stat().st_size


def _printable(path: str) -> str:
    return path if path.isprintable() else path.encode("unicode_escape", "replace").decode("ascii")
