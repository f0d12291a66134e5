"""Subjects and content that stand in two splits, inside one shard set or across several.

Corpora that `dataset.json` links share subjects, so that the same id means the same person in them.
A recording is recognised under another name by the hash of its decoded samples.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from physioscale.contract.schema import RECORDINGS_FILE
from physioscale.contract.verify.opened import OpenedSet
from physioscale.contract.verify.report import Fault, Faults


@dataclass(frozen=True)
class _Place:
    """A recording that a subject or a content was found in."""

    opened: OpenedSet
    split: str
    recording: str

    def __str__(self) -> str:
        return f"{self.split} ({self.opened.name}, recording {self.recording!r})"


def check_leaks(sets: Sequence[OpenedSet]) -> Faults:
    """Yield a fault for each subject and each content that is in more than one split."""
    groups = _linked_groups(sets)
    subjects: dict[tuple[str, str], dict[str, _Place]] = defaultdict(dict)
    contents: dict[str, dict[str, _Place]] = defaultdict(dict)
    for subject, content, place in _places(sets):
        subjects[groups[place.opened.info.corpus], subject].setdefault(place.split, place)
        contents[content].setdefault(place.split, place)
    for (_, subject), places in sorted(subjects.items()):
        if len(places) > 1:
            corpora = sorted({place.opened.info.corpus for place in places.values()})
            kind = "corpus" if len(corpora) == 1 else "linked corpora"
            yield _fault(f"subject {subject!r} of {kind} {' and '.join(corpora)} is", places)
    for places in contents.values():
        if len(places) > 1:
            yield _fault("the same samples are", places)


def _places(sets: Sequence[OpenedSet]) -> Iterator[tuple[str, str, _Place]]:
    columns = ("subject", "content_sha256", "split", "recording")
    for opened in sets:
        if opened.recordings is None:
            continue
        values = [opened.recordings[name].to_pylist() for name in columns]
        for subject, content, split, recording in zip(*values, strict=True):
            yield subject, content, _Place(opened, split, recording)


def _fault(what: str, places: Mapping[str, _Place]) -> Fault:
    found = [places[split] for split in sorted(places)]
    message = f"{what} in {' and in '.join(str(place) for place in found)}"
    return found[-1].opened.fault(RECORDINGS_FILE, message)


def _linked_groups(sets: Sequence[OpenedSet]) -> dict[str, str]:
    """Return for each corpus the name that stands for all corpora it is linked with."""
    groups: dict[str, set[str]] = {}
    for opened in sets:
        linked = {opened.info.corpus, *opened.info.linked_corpora}
        merged = linked.union(*(groups.get(corpus, set()) for corpus in linked))
        groups.update(dict.fromkeys(merged, merged))
    return {corpus: min(group) for corpus, group in groups.items()}
