"""Files of a shard set: each one that `dataset.json` lists, whole, and no other."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from physioscale.contract.dataset import DatasetInfo, file_sha256
from physioscale.contract.schema import (
    DATASET_FILE,
    INDEX_FILE,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    REPORT_FILE,
)
from physioscale.contract.tables import INDEX_SCHEMA, RECORDINGS_SCHEMA, read_table
from physioscale.contract.verify.opened import OpenedSet
from physioscale.contract.verify.report import Faults
from physioscale.errors import InputError

_REQUIRED = (INDEX_FILE, RECORDINGS_FILE, QUARANTINE_FILE)


def open_tables(name: str, path: Path, info: DatasetInfo) -> OpenedSet:
    """Return the set with the tables that are there and whole."""
    return OpenedSet(
        name,
        path,
        info,
        index=_sound_table(path / INDEX_FILE, info, INDEX_SCHEMA),
        recordings=_sound_table(path / RECORDINGS_FILE, info, RECORDINGS_SCHEMA),
    )


def check_files(opened: OpenedSet, *, on_bytes: Callable[[int], None]) -> Faults:
    """Yield a fault for each file that is missing, changed, or not listed."""
    listed = opened.info.files
    for name in sorted({*_REQUIRED} - set(listed)):
        yield opened.fault(DATASET_FILE, f"does not list {name}, which every shard set has")
    for name, sha256 in sorted(listed.items()):
        path = opened.path / name
        if not path.is_file():
            yield opened.fault(name, "is missing; dataset.json lists it")
            continue
        try:
            found = file_sha256(path)
        except OSError as error:
            yield opened.unreadable(name, error)
            continue
        if found != sha256:
            yield opened.fault(name, "its SHA-256 is not the one that dataset.json lists")
        else:
            yield from _check_content(opened, name)
        on_bytes(path.stat().st_size)
    yield from _check_unlisted(opened)


def _check_content(opened: OpenedSet, name: str) -> Faults:
    if name == INDEX_FILE and opened.index is None:
        yield opened.fault(name, "is not the table of this schema version")
    if name == RECORDINGS_FILE and opened.recordings is None:
        yield opened.fault(name, "is not the table of this schema version")
    if name == QUARANTINE_FILE:
        yield from _check_quarantine(opened)


def _check_quarantine(opened: OpenedSet) -> Faults:
    lines = (opened.path / QUARANTINE_FILE).read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        if not _is_json_object(line):
            yield opened.fault(QUARANTINE_FILE, f"line {number} is not a JSON object")
    if len(lines) != opened.info.quarantined:
        yield opened.fault(
            QUARANTINE_FILE,
            f"has {len(lines)} lines; dataset.json counts {opened.info.quarantined}",
        )


def _is_json_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _check_unlisted(opened: OpenedSet) -> Faults:
    info = opened.info
    known = {DATASET_FILE, REPORT_FILE, *info.files, *(shard.name for shard in info.shards)}
    for path in sorted(opened.path.rglob("*")):
        name = path.relative_to(opened.path).as_posix()
        if name not in known and not path.is_dir():
            yield opened.fault(name, "is not listed in dataset.json; remove it, or restore the set")


def _sound_table(path: Path, info: DatasetInfo, schema: pa.Schema) -> pa.Table | None:
    # A changed or unreadable table is not parsed: check_files names it.
    try:
        if not path.is_file() or file_sha256(path) != info.files.get(path.name):
            return None
        return read_table(path, schema=schema)
    except (InputError, OSError):
        return None
