"""Whether an encoder has seen, in pretraining, the people or recordings that test it.

Both sides are sets of hashes (`physioscale.contract.identity`). What pretraining read is listed in
the run folder; for a run without that list it is read again from the shards its configuration
names.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physioscale.contract import ShardSet, open_shard_set
from physioscale.contract.identity import Identities, identities, subject_hashes
from physioscale.errors import InputError, MissingInputError
from physioscale.evaluation.checkpoint import Checkpoint
from physioscale.streaming import StreamRecording


@dataclass(frozen=True)
class Leakage:
    """How many of the tested people and recordings pretraining has seen."""

    checked: bool
    """False where what pretraining read is not known, and that was allowed."""
    tested_subjects: int
    tested_recordings: int
    overlapping_subjects: tuple[str, ...] = ()
    """`corpus/subject` as the evaluation's shards name them."""
    overlapping_recordings: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing that tests was seen."""
        return self.checked and not self.overlapping_subjects and not self.overlapping_recordings

    def describe(self) -> str:
        """Return the line that stands with every figure."""
        if not self.checked:
            return "LEAKAGE NOT CHECKED: what pretraining read is not known"
        people = f"{self.tested_subjects} tested subjects"
        recordings = f"{self.tested_recordings} tested recordings"
        if self.clean:
            return f"no overlap with pretraining: 0 of {people}, 0 of {recordings}"
        return (
            f"OVERLAP WITH PRETRAINING: {len(self.overlapping_subjects)} of {people}, "
            f"{self.overlapping_recordings} of {recordings}; these are not held-out figures"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "clean": self.clean}


def trained_on(checkpoint: Checkpoint) -> Identities | None:
    """Return whom and what the run was pretrained on, or None if that is no longer known."""
    listed = checkpoint.run.trained_on
    if listed.is_file():
        return _read(listed)
    found = Identities()
    try:
        for path in checkpoint.config.data.shards:
            found |= identities(open_shard_set(path), split="train")
    except MissingInputError:
        return None
    return found


def _read(path: Path) -> Identities:
    try:
        return Identities.from_json(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            str(path),
            found=f"a damaged list of what the run was trained on ({error!r})",
            expected="the file that the training wrote",
            do="Restore it; or remove it while the shards of the training are there.",
        ) from None


def find_leakage(
    trained: Identities | None,
    shard_sets: Sequence[ShardSet],
    tested: Iterable[StreamRecording],
) -> Leakage:
    """Compare what tests with what pretraining has seen."""
    subjects: dict[str, frozenset[str]] = {}
    contents: list[str] = []
    for recording in tested:
        shard_set = shard_sets[recording.shard_set]
        linked = shard_set.info.linked_corpora
        name = f"{recording.corpus}/{recording.subject}"
        subjects[name] = subject_hashes(recording.corpus, recording.subject, linked=linked)
        contents.append(shard_set.recordings["content_sha256"][recording.row].as_py())
    if trained is None:
        return Leakage(False, len(subjects), len(contents))
    return Leakage(
        checked=True,
        tested_subjects=len(subjects),
        tested_recordings=len(contents),
        overlapping_subjects=_overlapping(subjects, trained.subjects),
        overlapping_recordings=sum(content in trained.contents for content in contents),
    )


def refuse_leakage(leakage: Leakage, checkpoint: Checkpoint) -> None:
    """Stop an evaluation whose test was, or may have been, seen in pretraining.

    Raises:
        InputError: names how many and who.
    """
    if leakage.clean:
        return
    if not leakage.checked:
        raise MissingInputError(
            str(checkpoint.run.config),
            found=f"data.shards that are not there: {', '.join(checkpoint.config.data.shards)}",
            expected="the shards of the pretraining, whose subjects must not test it",
            do="Put them back, or pass --allow-overlap, which marks the table.",
        )
    shown = ", ".join(leakage.overlapping_subjects[:3])
    raise InputError(
        str(checkpoint.path),
        found=f"{len(leakage.overlapping_subjects)} of {leakage.tested_subjects} tested subjects "
        f"({shown}{', ...' if len(leakage.overlapping_subjects) > 3 else ''}) and "
        f"{leakage.overlapping_recordings} of {leakage.tested_recordings} tested recordings in its "
        "pretraining",
        expected="test subjects that the encoder has never seen",
        do="Test on other subjects (--folds split uses the shards' own test split), or pass "
        "--allow-overlap, which marks the table.",
    )


def _overlapping(
    subjects: Mapping[str, frozenset[str]], trained: frozenset[str]
) -> tuple[str, ...]:
    return tuple(sorted(name for name, hashes in subjects.items() if hashes & trained))
