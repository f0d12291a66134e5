"""Whom a shard set's recordings are of, by hash: enough to compare sets, not to name anyone.

A subject is known by the SHA-256 of `corpus/subject`, and also under the name of every corpus that
`dataset.json` links, because linked corpora share subjects. A content is known by the hash of its
decoded samples, whatever it is called.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from physioscale.contract.dataset import ShardSet


@dataclass(frozen=True)
class Identities:
    """Hashed subjects and contents of some recordings."""

    subjects: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def __or__(self, other: "Identities") -> "Identities":
        return Identities(self.subjects | other.subjects, self.contents | other.contents)

    def to_json(self) -> dict[str, list[str]]:
        """Return sorted lists, as a run folder keeps them."""
        return {"subjects": sorted(self.subjects), "contents": sorted(self.contents)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Iterable[str]]) -> "Identities":
        """Return what `to_json` made."""
        return cls(frozenset(fields["subjects"]), frozenset(fields["contents"]))


def subject_hashes(corpus: str, subject: str, *, linked: Iterable[str] = ()) -> frozenset[str]:
    """Return the hashes under which a subject is known; equal persons share at least one."""
    names = {corpus, *linked}
    return frozenset(hashlib.sha256(f"{name}/{subject}".encode()).hexdigest() for name in names)


def identities(shard_set: ShardSet, *, split: str) -> Identities:
    """Return whom and what the recordings of a split are."""
    return identities_of_rows(shard_set, _rows_of(shard_set, split))


def identities_of_rows(shard_set: ShardSet, rows: Iterable[Mapping[str, Any]]) -> Identities:
    """Return whom and what some rows of `shard_set.recordings` are."""
    linked = shard_set.info.linked_corpora
    subjects: set[str] = set()
    contents: set[str] = set()
    for row in rows:
        subjects |= subject_hashes(row["corpus"], row["subject"], linked=linked)
        contents.add(row["content_sha256"])
    return Identities(frozenset(subjects), frozenset(contents))


def _rows_of(shard_set: ShardSet, split: str) -> Iterable[Mapping[str, Any]]:
    columns = ["corpus", "subject", "content_sha256", "split"]
    rows: list[dict[str, Any]] = shard_set.recordings.select(columns).to_pylist()
    return (row for row in rows if row["split"] == split)
