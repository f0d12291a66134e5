"""The plan of a conversion: which recording goes to which split and shard, before any is converted.

In:  what the headers say of each recording (`Scanned`), the profile.
Out: `Plan`: items, each a shard of small recordings or one recording that fills several shards.

The plan depends on the corpus and the profile only: not on workers, tasks or time. Its hash covers
what decides the bytes (`Request`): paths and sizes, what tables say, profile, definition, schema
and package versions.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from physioscale import __version__
from physioscale.contract import SCHEMA_VERSION, SPLITS
from physioscale_sharding.corpus import Corpus, SourceRecording
from physioscale_sharding.prepare import Conversion
from physioscale_sharding.profile import NamedProfile
from physioscale_sharding.quarantine import Quarantined
from physioscale_sharding.split import assign_splits

_PACKAGES = ("numpy", "scipy", "mne", "webdataset", "pyarrow")


@dataclass(frozen=True)
class Scanned:
    """What the plan needs of a recording."""

    path: str
    num_segments: int
    duration_s: float
    num_bytes: int
    """Estimated bytes in the shards."""


@dataclass(frozen=True)
class PlannedRecording:
    """A recording in an item."""

    path: str
    split: str
    num_segments: int
    duration_s: float


@dataclass(frozen=True)
class PlanItem:
    """A unit of work: done as a whole or not at all."""

    number: int
    split: str
    recordings: tuple[PlannedRecording, ...]
    num_bytes: int
    segments_per_shard: int | None
    """Segments after which the next shard begins; None: one shard holds the item."""

    @property
    def num_shards(self) -> int:
        """Shards that the item gives if no recording is lost."""
        if self.segments_per_shard is None:
            return 1
        return -(-sum(one.num_segments for one in self.recordings) // self.segments_per_shard)


@dataclass(frozen=True)
class Plan:
    """All items of a conversion, and the files that the scan already refused."""

    request: dict[str, str]
    """Hash of each part of what was asked for, by name."""
    items: tuple[PlanItem, ...]
    quarantined: tuple[Quarantined, ...]

    @property
    def sha256(self) -> str:
        """Hash of everything that decides the bytes."""
        return hash_json(self.request)

    def to_json(self) -> bytes:
        """Return the plan as JSON."""
        return f"{json.dumps(asdict(self), indent=1, ensure_ascii=False)}\n".encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Plan":
        """Return a plan that `to_json` wrote."""
        fields = json.loads(data)
        items = [
            PlanItem(
                **{**item, "recordings": tuple(PlannedRecording(**r) for r in item["recordings"])}
            )
            for item in fields["items"]
        ]
        rows = tuple(Quarantined(**row) for row in fields["quarantined"])
        return cls(fields["request"], tuple(items), rows)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the bytes."""
    return {"physioscale": __version__, **{name: _version(name) for name in _PACKAGES}}


def request_parts(
    corpus: Corpus, *, conversion: Conversion, profile: NamedProfile
) -> dict[str, str]:
    """Return a hash of each part of what decides the bytes, by a name that a person understands."""
    facts = [_facts(recording) for recording in corpus.recordings]
    rejected = [asdict(one) for one in corpus.rejected]
    return {
        "the files of the corpus": hash_json([facts, rejected]),
        "the corpus's name": hash_json(conversion.corpus),
        "the corpus definition": hash_json(asdict(conversion.definition)),
        "the profile": profile.sha256,
        "the key of the subject hashes": hash_json([conversion.public, conversion.key.hex()]),
        "the shard schema": hash_json(SCHEMA_VERSION),
        **{f"the version of {name}": found for name, found in package_versions().items()},
    }


def make_plan(
    recordings: Sequence[SourceRecording],
    scanned: Iterable[Scanned],
    *,
    request: dict[str, str],
    quarantined: Iterable[Quarantined],
    profile: NamedProfile,
) -> Plan:
    """Return the plan for the recordings whose headers could be read.

    Recordings are taken in an order that a hash of (seed, path) gives, so that each shard mixes
    subjects, and fill shards of about `shard_mb` one after the other.
    """
    config = profile.profile
    subjects = {recording.path: recording.subject for recording in recordings}
    found = list(scanned)
    splits = assign_splits((subjects[one.path] for one in found), config=config.split)
    limit = int(config.shard_mb * 1e6)
    items: list[PlanItem] = []
    for split in SPLITS:
        of_split = [one for one in found if splits[subjects[one.path]] == split]
        of_split.sort(key=lambda one: (_place(one.path, config.split.seed), one.path))
        for group in _packed(of_split, limit):
            items.append(_item(len(items), split, group, limit))
    return Plan(request, tuple(items), tuple(sorted(quarantined, key=lambda row: row.path)))


def differing_parts(asked: dict[str, str], other: dict[str, str]) -> str:
    """Return what differs between two requests, in words."""
    names = [name for name in {**asked, **other} if asked.get(name) != other.get(name)]
    return ", ".join(names) or "nothing that is known"


def hash_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _version(package: str) -> str:
    """Return a package's version, whose metadata takes some milliseconds to parse."""
    return version(package)


def _packed(scanned: Sequence[Scanned], limit: int) -> list[list[Scanned]]:
    """Return groups of recordings, each within `limit` bytes or a single recording beyond it."""
    groups: list[list[Scanned]] = []
    current: list[Scanned] = []
    size = 0
    for one in scanned:
        if one.num_bytes > limit:
            groups.append([one])
            continue
        if current and size + one.num_bytes > limit:
            groups.append(current)
            current, size = [], 0
        current.append(one)
        size += one.num_bytes
    return [*groups, current] if current else groups


def _item(number: int, split: str, group: Sequence[Scanned], limit: int) -> PlanItem:
    num_bytes = sum(one.num_bytes for one in group)
    num_shards = -(-num_bytes // limit)
    num_segments = sum(one.num_segments for one in group)
    several = len(group) == 1 and num_shards > 1
    return PlanItem(
        number=number,
        split=split,
        recordings=tuple(
            PlannedRecording(one.path, split, one.num_segments, one.duration_s) for one in group
        ),
        num_bytes=num_bytes,
        segments_per_shard=-(-num_segments // num_shards) if several else None,
    )


def _place(path: str, seed: int) -> str:
    return hashlib.sha256(f"order/{seed}/{path}".encode()).hexdigest()


def _facts(recording: SourceRecording) -> str:
    """Return all that the corpus says of a recording, but not where it lies on this machine."""
    fields = {k: v for k, v in vars(recording).items() if k != "absolute"}
    return repr(sorted(fields.items(), key=lambda item: item[0]))
