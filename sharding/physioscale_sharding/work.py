"""The work folder of a conversion, and the conversion of one plan item in it.

    .work/plan.json                       the plan, written once
    .work/run.lock                        held while a conversion runs
    .work/shards/000012-00.tar            a finished shard of item 12
    .work/items/000012.index.parquet      its rows of the index
    .work/items/000012.recordings.parquet its rows of the recordings
    .work/items/000012.json               its facts; published last: with it the item is done

Everything is published by fsync and rename. An item that was interrupted is done again from its
start and gives the same bytes; one that is done is never touched again.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from physioscale.contract import (
    INDEX_SCHEMA,
    RECORDINGS_SCHEMA,
    ShardFacts,
    ShardWriter,
    publish_bytes,
    publishing,
    to_table,
    write_table,
)
from physioscale.errors import InputError
from physioscale_sharding.claims import claimed
from physioscale_sharding.corpus import SourceRecording
from physioscale_sharding.plan import PlanItem, Scanned
from physioscale_sharding.prepare import Conversion, prepare
from physioscale_sharding.process import Segment, convert
from physioscale_sharding.quarantine import Quarantined, quarantined
from physioscale_sharding.segments import estimate_bytes
from physioscale_sharding.spool import SpoolError

WORK_FOLDER = ".work"
DONE_FOLDER = ".work.done"

# A process that was killed lets go at once; one that is alive on another machine may take longer.
_WAIT_FOR_CLAIM_S = 60.0
_BYTES_OF_CODING = {"quantised": 2, "native": 2, "float32": 4}


@dataclass(frozen=True)
class WorkFolder:
    """Paths in a work folder."""

    path: Path

    @classmethod
    def of(cls, out: Path) -> "WorkFolder":
        """Return the work folder of a shard set."""
        return cls(out / WORK_FOLDER)

    @property
    def plan(self) -> Path:
        """The plan."""
        return self.path / "plan.json"

    @property
    def lock(self) -> Path:
        """Held while a conversion runs."""
        return self.path / "run.lock"

    def create(self) -> None:
        """Make the folders that are missing."""
        for name in ("items", "shards"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Remove the folder; it is gone under its name at once, whoever still looks into it."""
        done = self.path.with_name(DONE_FOLDER)
        shutil.rmtree(done, ignore_errors=True)
        if self.path.is_dir():
            self.path.rename(done)
            shutil.rmtree(done)

    def item(self, number: int, suffix: str) -> Path:
        """Return a file of an item: "json", "index.parquet", "recordings.parquet", "lock"."""
        return self.path / "items" / f"{number:06d}.{suffix}"

    def shard(self, name: str) -> Path:
        """Return a shard before it has its final name."""
        return self.path / "shards" / name


@dataclass(frozen=True)
class ItemResult:
    """What an item became; the content of its .json file."""

    number: int
    split: str
    shards: tuple[ShardFacts, ...]
    """Their names are those in the work folder."""
    quarantined: tuple[Quarantined, ...]
    num_recordings: int
    num_float32: int
    hours: float

    def to_json(self) -> bytes:
        """Return the result as JSON."""
        return f"{json.dumps(asdict(self), indent=1, ensure_ascii=False)}\n".encode()

    @classmethod
    def from_json(cls, data: bytes) -> "ItemResult":
        """Return a result that `to_json` wrote."""
        fields = json.loads(data)
        fields["shards"] = tuple(ShardFacts(**facts) for facts in fields["shards"])
        fields["quarantined"] = tuple(Quarantined(**row) for row in fields["quarantined"])
        return cls(**fields)


@dataclass(frozen=True)
class ScanJob:
    """Recordings whose headers one worker reads."""

    conversion: Conversion
    recordings: tuple[SourceRecording, ...]


@dataclass(frozen=True)
class ItemJob:
    """An item with all that its conversion needs."""

    conversion: Conversion
    item: PlanItem
    recordings: tuple[SourceRecording, ...]
    """Those of the item, in its order."""
    work: WorkFolder


def scan(job: ScanJob) -> list[Scanned | Quarantined]:
    """Return what the plan needs of each recording, or why it cannot be converted."""
    return [_scan(recording, job.conversion) for recording in job.recordings]


def convert_item(job: ItemJob) -> ItemResult:
    """Convert an item, or return what it became before.

    Raises:
        InputError: another process works on it.
        OSError: its files cannot be written.
    """
    number, work = job.item.number, job.work
    with claimed(work.item(number, "lock"), wait_s=_WAIT_FOR_CLAIM_S) as mine:
        if not mine:
            raise InputError(
                str(work.path.parent),
                found=f"item {number} is being converted by another process",
                expected="one conversion in a folder",
                do="Wait for it, or end it.",
            )
        done = read_result(work, number)
        return done if done is not None else _convert_item(job)


def read_result(work: WorkFolder, number: int) -> ItemResult | None:
    """Return what an item became, or None if it is not done."""
    path = work.item(number, "json")
    return ItemResult.from_json(path.read_bytes()) if path.is_file() else None


def _scan(recording: SourceRecording, conversion: Conversion) -> Scanned | Quarantined:
    try:
        prepared = prepare(recording, conversion=conversion)
    except MemoryError:
        raise
    except Exception as error:  # one bad file must not end a corpus
        return quarantined(recording.path, stage="header", error=error)
    bounds = [bound for _, cut in prepared.runs for bound in cut.bounds]
    sizes = (
        estimate_bytes(
            stop - start,
            num_channels=len(prepared.selection.channels),
            sample_bytes=_BYTES_OF_CODING[conversion.profile.coding],
        )
        for start, stop in bounds
    )
    num_times = sum(stop - start for start, stop in bounds)
    return Scanned(
        path=recording.path,
        num_segments=len(bounds),
        duration_s=num_times / prepared.conditioning.rate_hz,
        num_bytes=sum(sizes),
    )


def _convert_item(job: ItemJob) -> ItemResult:
    rows: list[dict[str, Any]] = []
    lost: list[Quarantined] = []
    index: list[dict[str, Any]] = []
    shards: list[ShardFacts] = []
    segments = _converted(job, rows, lost)
    per_shard = job.item.segments_per_shard
    while (first := next(segments, None)) is not None:
        name = f"{job.item.number:06d}-{len(shards):02d}.tar"
        rest = islice(segments, None if per_shard is None else per_shard - 1)
        facts = _write_shard(job.work.shard(name), first, rest, index)
        shards.append(facts)
    result = ItemResult(
        number=job.item.number,
        split=job.item.split,
        shards=tuple(shards),
        quarantined=tuple(lost),
        num_recordings=len(rows),
        num_float32=sum(row["dtype"] == "float32" for row in index),
        hours=sum(row["duration_s"] for row in rows) / 3600,
    )
    number = job.item.number
    write_table(job.work.item(number, "index.parquet"), to_table(index, schema=INDEX_SCHEMA))
    write_table(
        job.work.item(number, "recordings.parquet"), to_table(rows, schema=RECORDINGS_SCHEMA)
    )
    publish_bytes(job.work.item(number, "json"), result.to_json())
    return result


def _converted(
    job: ItemJob, rows: list[dict[str, Any]], lost: list[Quarantined]
) -> Iterator[Segment]:
    """Yield the segments of the item's recordings; rows and losses go to the lists."""
    for recording in job.recordings:
        try:
            segments = convert(
                prepare(recording, conversion=job.conversion),
                split=job.item.split,
                conversion=job.conversion,
                folder=job.work.path,
            )
            first = next(segments)
        except (MemoryError, SpoolError):
            raise
        except Exception as error:  # one bad file must not end a corpus
            lost.append(quarantined(recording.path, stage="signal", error=error))
            continue
        yield first
        rows.append((yield from segments))


def _write_shard(
    path: Path, first: Segment, rest: Iterator[Segment], index: list[dict[str, Any]]
) -> ShardFacts:
    with publishing(path) as temporary, ShardWriter(temporary, name=path.name) as writer:
        index.extend(
            writer.write(segment.meta, segment.stored, quality=segment.quality)
            for segment in chain((first,), rest)
        )
        return writer.close()
