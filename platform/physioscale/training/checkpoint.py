"""Checkpoints as folders that are there whole or not at all.

    checkpoints/step-00000150/    files, state.json, manifest.json
    checkpoints/latest            the name of the newest, for people and scripts

A checkpoint is written into a folder with a leading dot, every file is synced, `manifest.json`
(size and SHA-256 of each) is written last, and a rename publishes it. So a folder named `step-...`
is complete, whatever was killed when; the newest one is where a run goes on, and `latest` follows.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from physioscale.contract import file_sha256, publish_bytes
from physioscale.contract.publish import sync_file, sync_folder
from physioscale.errors import InputError

MANIFEST = "manifest.json"
LATEST = "latest"
_NAME = re.compile(r"step-(\d{8,})")
_LEFTOVER = re.compile(r"\.step-\d{8,}\.(tmp|old)")


def checkpoint_name(step: int) -> str:
    """Return the folder name of the checkpoint after `step` updates."""
    return f"step-{step:08d}"


def checkpoint_step(path: Path) -> int:
    """Return the number of updates before a checkpoint, from its name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(
            str(path),
            found="a folder of another name",
            expected="a checkpoint, as in checkpoints/step-00000150",
            do="Name a run folder or one of its checkpoints.",
        )
    return int(match.group(1))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the published checkpoints in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted((p for p in found if _NAME.fullmatch(p.name)), key=checkpoint_step)


def temporary_path(folder: Path, *, step: int) -> Path:
    """Return where the checkpoint after `step` updates is written before it is published."""
    return folder / f".{checkpoint_name(step)}.tmp"


def begin_checkpoint(folder: Path, *, step: int) -> Path:
    """Make `temporary_path` as an empty folder and return it."""
    temporary = temporary_path(folder, step=step)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    return temporary


def publish_checkpoint(folder: Path, *, step: int) -> Path:
    """Seal what was written to `temporary_path` and give it its name; return the new path."""
    temporary = temporary_path(folder, step=step)
    target = folder / checkpoint_name(step)
    _seal(temporary)
    if target.exists():
        # The same step again, after a launch that went back: the newer one counts.
        _remove(target)
    temporary.rename(target)
    sync_folder(folder)
    publish_bytes(folder / LATEST, f"{target.name}\n".encode())
    return target


def verify_checkpoint(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        InputError: names the first file that is missing, changed or not listed, and the newest
            older checkpoint that is whole.
    """
    fault = _find_fault(path)
    if fault is None:
        return
    older = [p for p in list_checkpoints(path.parent) if checkpoint_step(p) < checkpoint_step(path)]
    intact = next((p for p in reversed(older) if _find_fault(p) is None), None)
    rest = f"go on from {intact.name}, which is whole" if intact else "start again from step 0"
    raise InputError(
        str(path / fault[0]),
        found=fault[1],
        expected="the file that its manifest lists",
        do=f"Copy it back, or remove the folder {path.name} to {rest}.",
    )


def retain(folder: Path, *, keep: int) -> None:
    """Remove all checkpoints in `folder` but the newest `keep`, and what kills left of others."""
    for path in list_checkpoints(folder)[:-keep]:
        _remove(path)
    for path in list(folder.iterdir()):
        if _LEFTOVER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def read_state(path: Path) -> dict[str, Any]:
    """Return `state.json` of a checkpoint that was verified."""
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def _seal(folder: Path) -> None:
    files = _files(folder)
    for name in files:
        sync_file(folder / name)
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        sync_folder(path)
    manifest = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
        for name in files
    }
    publish_bytes(folder / MANIFEST, f"{json.dumps(manifest, indent=2)}\n".encode())


def _find_fault(path: Path) -> tuple[str, str] | None:
    """Return (file, what is wrong with it), or None."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        listed = {name: (facts["bytes"], facts["sha256"]) for name, facts in manifest.items()}
    except FileNotFoundError:
        return MANIFEST, "no such file"
    except (ValueError, TypeError, KeyError, AttributeError):
        return MANIFEST, "a damaged manifest"
    for name, (size, sha256) in listed.items():
        file = path / name
        if not file.is_file():
            return name, "no such file"
        if file.stat().st_size != size:
            return name, f"{file.stat().st_size} bytes, not {size}"
        if file_sha256(file) != sha256:
            return name, "a content that was changed after it was written"
    extra = sorted(set(_files(path)) - set(listed) - {MANIFEST})
    return (extra[0], "a file that the manifest does not list") if extra else None


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _remove(path: Path) -> None:
    # Renamed first, so that a kill in between leaves no half a checkpoint under a valid name.
    doomed = path.with_name(f".{path.name}.old")
    if doomed.exists():
        shutil.rmtree(doomed)
    path.replace(doomed)
    shutil.rmtree(doomed)
