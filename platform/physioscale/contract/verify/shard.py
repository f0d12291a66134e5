"""One shard: read once from end to end, every byte accounted for.

The index says where each member lies; what stands between and behind them may only be tar headers
that agree with it and zeros. A shard whose SHA-256 is wrong although nothing in it could be named
is reported as a whole.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from physioscale.contract.dataset import declared_members, file_sha256
from physioscale.contract.schema import REQUIRED_MEMBERS
from physioscale.contract.shard_writer import ShardFacts
from physioscale.contract.verify.opened import OpenedSet, RecordingRows
from physioscale.contract.verify.report import Fault, Faults
from physioscale.contract.verify.sample import Sample, check_member

_TAR_BLOCK = 512
_CHUNK_BYTES = 1 << 20
# Two blocks of zeros end an archive.
_END_BYTES = 2 * _TAR_BLOCK


@dataclass(frozen=True)
class _Member:
    """A member of a sample, where the index puts it."""

    sample: Sample
    name: str
    offset: int
    size: int


def check_shards(opened: OpenedSet, *, on_bytes: Callable[[int], None]) -> Faults:
    """Yield the faults of all shards of a set."""
    rows = None if opened.recordings is None else RecordingRows(opened.recordings)
    for facts in opened.info.shards:
        try:
            yield from _check_readable(opened, facts, rows, on_bytes)
        except OSError as error:
            # The other shards are still worth reading.
            yield opened.unreadable(facts.name, error)


def _check_readable(
    opened: OpenedSet,
    facts: ShardFacts,
    rows: RecordingRows | None,
    on_bytes: Callable[[int], None],
) -> Faults:
    path = opened.path / facts.name
    if not path.is_file():
        yield opened.fault(facts.name, "is missing; dataset.json lists it")
    elif opened.index is None:
        # Without its index a shard is a row of bytes: only its hash can be compared.
        if file_sha256(path) != facts.sha256:
            yield _changed(opened, facts, path.stat().st_size)
        on_bytes(path.stat().st_size)
    else:
        samples = list(_samples(opened, facts.name, opened.index, rows))
        yield from _check_shard(opened, facts, samples, on_bytes)


def _samples(
    opened: OpenedSet, shard: str, index: pa.Table, recordings: RecordingRows | None
) -> Iterator[Sample]:
    for row in index.filter(pc.equal(index["shard"], shard)).to_pylist():
        found = None if recordings is None else recordings.get(row["recording"])
        yield Sample(opened, shard, row, found)


def _check_shard(
    opened: OpenedSet,
    facts: ShardFacts,
    samples: Sequence[Sample],
    on_bytes: Callable[[int], None],
) -> Faults:
    with (opened.path / facts.name).open("rb") as stream:
        tar = _HashingReader(stream, on_bytes)
        faults = [*_check_rows(opened, facts, samples), *_walk(opened, facts.name, tar, samples)]
        tar.skip_rest()
    sha256 = tar.hash.hexdigest()
    others = [shard.name for shard in opened.info.shards if shard.sha256 == sha256]
    if others and facts.name not in others:
        yield opened.fault(facts.name, f"holds the content of {others[0]}")
        return
    yield from faults
    if not faults and (sha256, tar.at) != (facts.sha256, facts.num_bytes):
        yield _changed(opened, facts, tar.at)


def _check_rows(opened: OpenedSet, facts: ShardFacts, samples: Sequence[Sample]) -> Faults:
    if len(samples) != facts.num_segments:
        yield opened.fault(
            facts.name,
            f"has {len(samples)} rows in index.parquet; dataset.json counts {facts.num_segments}",
        )
    declared = declared_members(opened.info)
    for sample in samples:
        names = [member["name"] for member in sample.row["members"]]
        for name in sorted(set(REQUIRED_MEMBERS) - set(names)):
            yield opened.fault(facts.name, f"has no member {name}", sample=sample.key)
        for name in sorted(set(names) - set(declared)):
            message = f"has member {name}, which dataset.json does not declare"
            yield opened.fault(facts.name, message, sample=sample.key)


def _walk(
    opened: OpenedSet, shard: str, tar: "_HashingReader", samples: Sequence[Sample]
) -> Faults:
    members = [
        _Member(sample, member["name"], member["offset"], member["size"])
        for sample in samples
        for member in sample.row["members"]
    ]
    members.sort(key=lambda member: member.offset)
    for place, member in enumerate(members):
        begin = member.offset - _TAR_BLOCK
        if begin < tar.at:
            yield member.sample.fault(
                f"index.parquet puts {member.name} where another member lies", offset=begin
            )
            continue
        if begin > tar.at:
            yield _unknown_bytes(opened, shard, tar, begin - tar.at)
        header, data = tar.read(_TAR_BLOCK), tar.read(member.size)
        padding = tar.read(-member.size % _TAR_BLOCK)
        if tar.at < begin + _TAR_BLOCK + member.size + -member.size % _TAR_BLOCK:
            yield _cut_off(member, tar.at, {left.sample.key for left in members[place:]})
            return
        yield from _check_header(member, header)
        yield from check_member(member.sample, member.name, data, offset=member.offset)
        if padding.strip(b"\0"):
            at = member.offset + member.size + _zeros(padding)
            yield member.sample.fault(f"padding behind {member.name} is not zero", offset=at)
    yield from _check_end(opened, shard, tar)


def _check_header(member: _Member, header: bytes) -> Faults:
    begin = member.offset - _TAR_BLOCK
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        yield member.sample.fault(
            f"the tar header of {member.name} is damaged ({error})", offset=begin
        )
        return
    expected = f"{member.sample.key}.{member.name}"
    if (found.name, found.size) != (expected, member.size) or not found.isreg():
        yield member.sample.fault(
            f"the tar holds {found.name!r} of {found.size} bytes; index.parquet says {expected!r} "
            f"of {member.size} bytes",
            offset=begin,
        )


def _check_end(opened: OpenedSet, shard: str, tar: "_HashingReader") -> Faults:
    begin = tar.at
    first = tar.read(_TAR_BLOCK)
    if first.strip(b"\0") and len(first) == _TAR_BLOCK:
        where = begin + _zeros(first)
        found = f"{_member_name(first)}bytes behind the last sample"
        yield opened.fault(shard, f"{found}, which index.parquet does not know", offset=where)
        return
    while chunk := tar.read(_CHUNK_BYTES):
        if chunk.strip(b"\0"):
            where = tar.at - len(chunk) + _zeros(chunk)
            yield opened.fault(shard, "bytes behind the end of the archive", offset=where)
            return
    if tar.at - begin < _END_BYTES or first.strip(b"\0"):
        yield opened.fault(shard, "the end of the archive is cut off", offset=tar.at)


def _unknown_bytes(opened: OpenedSet, shard: str, tar: "_HashingReader", count: int) -> Fault:
    begin = tar.at
    first = tar.read(min(count, _TAR_BLOCK))
    tar.skip(count - len(first))
    message = f"{_member_name(first)}{count} bytes that index.parquet does not know"
    return opened.fault(shard, message, offset=begin)


def _member_name(header: bytes) -> str:
    """Return "member 'x': " if `header` is a tar header, else an empty string."""
    try:
        return f"member {tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape').name!r}: "
    except tarfile.HeaderError:
        return ""


def _cut_off(member: _Member, end: int, lost: set[str]) -> Fault:
    return member.sample.fault(
        f"the file ends at byte {end}, inside {member.name}; {len(lost)} of its segments are cut "
        "off, from this one on",
        offset=end,
    )


def _changed(opened: OpenedSet, facts: ShardFacts, num_bytes: int) -> Fault:
    size = (
        ""
        if num_bytes == facts.num_bytes
        else f" (it has {num_bytes} bytes; dataset.json says {facts.num_bytes})"
    )
    return opened.fault(facts.name, f"its SHA-256 is not the one that dataset.json lists{size}")


def _zeros(data: bytes) -> int:
    """Return the number of zero bytes at the start."""
    return len(data) - len(data.lstrip(b"\0"))


class _HashingReader:
    """Reads a file in order, hashes what passes and reports the bytes."""

    def __init__(self, stream: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes
        self.hash = hashlib.sha256()
        self.at = 0

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end of the file."""
        data = self._stream.read(count)
        self.hash.update(data)
        self.at += len(data)
        self._on_bytes(len(data))
        return data

    def skip(self, count: int) -> None:
        """Read `count` bytes and drop them."""
        while count > 0 and (data := self.read(min(count, _CHUNK_BYTES))):
            count -= len(data)

    def skip_rest(self) -> None:
        """Read to the end of the file."""
        while self.read(_CHUNK_BYTES):
            pass
