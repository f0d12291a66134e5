"""A published file is the old one or the new one, whatever is killed when."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from physioscale.contract import publish_bytes, publishing

KILLED_BEFORE_RENAME = """
import os, signal, sys
from pathlib import Path
from physioscale.contract import publishing
with publishing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half of the new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_bytes_are_published_and_nothing_else_is_left(tmp_path: Path) -> None:
    publish_bytes(tmp_path / "file", b"old")
    publish_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kill_between_write_and_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    publish_bytes(path, b"old")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_RENAME, str(path)], timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2, "the kill came after the temporary file was written"
    publish_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_an_exception_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    publish_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="disk is full"):
        _write_half(path)
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def _write_half(path: Path) -> None:
    with publishing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("disk is full")


def test_the_new_name_appears_only_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with publishing(path) as temporary:
        temporary.write_bytes(b"content")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"content"
