"""`dataset.json` and the shard set as a whole.

`dataset.json` is canonical JSON (sorted keys, two spaces, a newline at the end) that names every
other file of the folder with its SHA-256 and carries a checksum of itself, so that a flipped byte
anywhere is found. It is written last: a folder without it is not a shard set yet.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from physioscale.contract.publish import publish_bytes
from physioscale.contract.schema import (
    DATASET_FILE,
    INDEX_FILE,
    KINDS,
    RECORDINGS_FILE,
    REQUIRED_MEMBERS,
    SCHEMA_VERSION,
    check_member,
    check_schema,
    split_of_shard,
)
from physioscale.contract.shard_writer import ShardFacts
from physioscale.contract.tables import INDEX_SCHEMA, RECORDINGS_SCHEMA, read_table
from physioscale.errors import InputError, MissingInputError


@dataclass(frozen=True)
class MemberSpec:
    """A member that samples of the set may carry beside the required ones."""

    dtype: str
    shape: str
    unit: str
    description: str


@dataclass(frozen=True)
class SplitFacts:
    """Counts of one split."""

    subjects: int
    recordings: int
    segments: int
    hours: float


@dataclass(frozen=True)
class DatasetInfo:
    """The content of `dataset.json`, its own checksum left out."""

    kind: str
    corpus: str
    profile: dict[str, Any]
    """The resolved profile: what was done to the signals."""
    profile_sha256: str
    plan_sha256: str
    versions: dict[str, str]
    """Versions of the packages that decide the bytes."""
    splits: dict[str, SplitFacts]
    shards: tuple[ShardFacts, ...]
    files: dict[str, str]
    """SHA-256 of every other file, by relative path (shards and report.html left out)."""
    quarantined: int
    members: dict[str, MemberSpec] = field(default_factory=dict)
    linked_corpora: tuple[str, ...] = ()
    """Corpora that share subjects or recordings with this one."""
    schema: int = SCHEMA_VERSION

    @cached_property
    def checksum(self) -> str:
        """SHA-256 that identifies the set: it covers every file but report.html."""
        return hashlib.sha256(_render(dataclasses.asdict(self))).hexdigest()


class ShardSet:
    """A shard set that was opened for reading; the tables are read on first use."""

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path = path
        self.info = info

    @cached_property
    def index(self) -> pa.Table:
        """`index.parquet`: a row per segment."""
        return self._table(INDEX_FILE, INDEX_SCHEMA)

    @cached_property
    def recordings(self) -> pa.Table:
        """`recordings.parquet`: a row per recording."""
        return self._table(RECORDINGS_FILE, RECORDINGS_SCHEMA)

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        # A replaced table would send every read to wrong bytes: its hash is compared before use.
        path = self.path / name
        if path.is_file() and file_sha256(path) != self.info.files.get(name):
            raise InputError(
                f"{self.path.name}/{name}",
                found="another content than dataset.json names",
                expected="the file that was written with the shards",
                do="Run `physioscale verify` on the folder; restore the file or convert again.",
            )
        return read_table(path, schema=schema)


def open_shard_set(path: Path | str) -> ShardSet:
    """Open the shard set in folder `path`.

    Raises:
        MissingInputError: no such folder, or no `dataset.json` in it.
        InputError: `dataset.json` is damaged, or of a schema this package cannot read.
    """
    folder = Path(path)
    file = folder / DATASET_FILE
    if not folder.is_dir():
        raise MissingInputError(
            str(path), found="no such folder", expected="a shard set", do=_CONVERT
        )
    if not file.is_file():
        raise MissingInputError(
            str(path),
            found=f"no {DATASET_FILE} in it",
            expected="a finished shard set",
            do="A conversion writes it last: run the same `physioscale shard` line again.",
        )
    return ShardSet(folder, parse_dataset(file.read_bytes(), where=f"{path}/{DATASET_FILE}"))


def write_dataset(folder: Path, info: DatasetInfo) -> None:
    """Publish `dataset.json`, which makes the folder a shard set."""
    if info.kind not in KINDS:
        raise InputError(
            str(folder), found=f"kind {info.kind!r}", expected=f"one of {KINDS}", do="Name it."
        )
    _check_names(info, where=str(folder))
    fields = {**dataclasses.asdict(info), "checksum": info.checksum}
    publish_bytes(folder / DATASET_FILE, _render(fields))


def parse_dataset(data: bytes, *, where: str) -> DatasetInfo:
    """Return the content of `dataset.json`, checked byte by byte."""
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise InputError(
            where, found=f"text that is not JSON ({error})", expected="a shard set", do=_RESTORE
        ) from None
    check_schema(fields.get("schema") if isinstance(fields, dict) else None, where=where)
    if not _is_canonical(fields, data):
        raise InputError(where, found=_CHANGED, expected=_CANONICAL, do=_RESTORE)
    checksum = fields.pop("checksum", None)
    try:
        fields["splits"] = {name: SplitFacts(**facts) for name, facts in fields["splits"].items()}
        fields["shards"] = tuple(ShardFacts(**facts) for facts in fields["shards"])
        fields["members"] = {name: MemberSpec(**spec) for name, spec in fields["members"].items()}
        fields["linked_corpora"] = tuple(fields["linked_corpora"])
        info = DatasetInfo(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            where, found=f"fields that do not fit ({error})", expected=_CANONICAL, do=_RESTORE
        ) from None
    if info.checksum != checksum:
        raise InputError(where, found=_CHANGED, expected=_CANONICAL, do=_RESTORE)
    _check_names(info, where=where)
    return info


def read_listed_file(shard_set: ShardSet, name: str) -> bytes:
    """Return the content of a file that `dataset.json` lists, compared with its SHA-256.

    Raises:
        MissingInputError: there is no such file.
        InputError: the content differs.
    """
    path = shard_set.path / name
    if not path.is_file():
        raise MissingInputError(
            f"{shard_set.path.name}/{name}", found="no such file", expected=_CANONICAL, do=_RESTORE
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != shard_set.info.files.get(name):
        raise InputError(
            f"{shard_set.path.name}/{name}", found=_CHANGED, expected=_CANONICAL, do=_RESTORE
        )
    return data


def declared_members(info: DatasetInfo) -> Sequence[str]:
    """Return the names of all members that a sample of the set may have."""
    return (*REQUIRED_MEMBERS, *sorted(info.members))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _render(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _check_names(info: DatasetInfo, *, where: str) -> None:
    """Refuse names of members and shards of another form, and files outside the folder."""
    for name in sorted(info.members):
        check_member(name, where=where)
    for shard in info.shards:
        split_of_shard(shard.name)
    for name in sorted(info.files):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                where, found=f"file {name!r}", expected="a path inside the folder", do=_RESTORE
            )


def _is_canonical(fields: dict[str, Any], data: bytes) -> bool:
    try:
        return _render(fields) == data
    except ValueError:  # NaN, or a lone surrogate: json reads what `_render` never writes
        return False


_CONVERT = "Make one with `physioscale shard CORPUS --out DIR`."
_RESTORE = "Restore the file from a copy, or convert the corpus again."
_CHANGED = "a content that was changed after it was written"
_CANONICAL = "the file as the conversion wrote it"
