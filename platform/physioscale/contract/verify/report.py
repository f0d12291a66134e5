"""What `verify` found: faults, each with its place, and counts of what was read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One thing that is not as the conversion wrote it, or that must not be."""

    shard_set: str
    """The folder, as it was named."""
    file: str
    """Path in the folder."""
    sample: str | None
    """Key of the sample."""
    offset: int | None
    """Byte of the file at which the damaged part begins."""
    message: str
    """What was found and what was expected."""

    def __str__(self) -> str:
        place = f"{self.shard_set}/{self.file}"
        if self.sample is not None:
            place += f", sample {self.sample}"
        if self.offset is not None:
            place += f", byte {self.offset}"
        return f"{place}: {self.message}"


@dataclass(frozen=True)
class SetCounts:
    """What was read of one shard set."""

    shard_set: str
    corpus: str
    shards: int
    segments: int
    recordings: int
    subjects: int
    hours: float
    num_bytes: int


@dataclass(frozen=True)
class VerifyReport:
    """The outcome for all sets that were verified together."""

    faults: tuple[Fault, ...]
    counts: tuple[SetCounts, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "sound": not self.faults,
            "sets": [vars(counts) for counts in self.counts],
            "faults": [vars(fault) for fault in self.faults],
        }


Faults = Iterator[Fault]
