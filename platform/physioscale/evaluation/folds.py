"""Who trains the probe, who chooses its strength, who tests it: always whole subjects.

`split` takes the shard set's own train, val and test. The others pool all subjects: each is tested
once, and of the remaining ones a fifth (at least one) choose the regularisation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import SPLITS
from physioscale.errors import InputError
from physioscale.evaluation.labels import Problem

IntArray = NDArray[np.int64]

SPLIT = "split"
LEAVE_ONE_OUT = "leave-one-subject-out"
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Fold:
    """Windows (places in the problem) that train, validate and test one probe."""

    name: str
    train: IntArray
    val: IntArray
    test: IntArray


def check_folds(text: str) -> str:
    """Return `text` if it names a way of splitting: "split", "leave-one-subject-out", "5".

    Raises:
        InputError: it does not.
    """
    if text in (SPLIT, LEAVE_ONE_OUT) or (text.isdecimal() and int(text) >= 2):
        return text
    raise InputError(
        "--folds",
        found=repr(text),
        expected=f"{SPLIT}, {LEAVE_ONE_OUT}, or a number of folds from 2",
        do="Leave it out to use the shard set's own splits.",
    )


def make_folds(problem: Problem, folds: str, *, seed: int) -> list[Fold]:
    """Return the folds of a problem.

    Args:
        problem: the labelled windows.
        folds: as `check_folds` accepts it.
        seed: draws validation subjects, and the subjects of each of K folds.

    Raises:
        InputError: a split without windows, too few subjects, or a class without training windows.
    """
    made = [_split(problem)] if folds == SPLIT else list(_pooled(problem, folds, seed))
    for fold in made:
        _check_classes(problem, fold)
    return made


def _split(problem: Problem) -> Fold:
    parts = [np.flatnonzero(problem.split_of == split) for split in SPLITS]
    for split, part in zip(SPLITS, parts, strict=True):
        if not len(part):
            raise InputError(
                f"split {split}",
                found=f"no window with label {problem.label!r}",
                expected="at least one in train, val and test",
                do=f"Use --folds {LEAVE_ONE_OUT}, or convert with other shares.",
            )
    return Fold("test", *parts)


def _pooled(problem: Problem, folds: str, seed: int) -> Iterator[Fold]:
    rng = np.random.default_rng(seed)
    subjects = np.unique(problem.subject_of)
    count = len(subjects) if folds == LEAVE_ONE_OUT else int(folds)
    if len(subjects) < max(count, 3):
        raise InputError(
            f"--folds {folds}",
            found=f"{len(subjects)} subjects with label {problem.label!r}",
            expected=f"at least {max(count, 3)}: some to train, to validate and to test",
            do="Use fewer folds, or more subjects.",
        )
    order = subjects if folds == LEAVE_ONE_OUT else rng.permutation(subjects)
    for number in range(count):
        tested = order[number::count]
        name = problem.subjects[tested[0]] if folds == LEAVE_ONE_OUT else f"fold {number + 1}"
        rest = np.setdiff1d(subjects, tested)
        validating = _validation_subjects(problem, rest, rng)
        parts = (np.setdiff1d(rest, validating), validating, tested)
        yield Fold(name, *(np.flatnonzero(np.isin(problem.subject_of, part)) for part in parts))


def _validation_subjects(
    problem: Problem, subjects: IntArray, rng: np.random.Generator
) -> IntArray:
    """Draw validation subjects so that every class of the others keeps a subject to train on."""
    held = np.zeros((len(problem.subjects), len(problem.classes)), dtype=bool)
    held[problem.subject_of, problem.class_of] = True
    left = held[subjects].sum(axis=0)
    wanted = max(1, round(VALIDATION_SHARE * len(subjects)))
    drawn: list[int] = []
    for subject in rng.permutation(subjects).tolist():
        if len(drawn) == wanted:
            break
        if (left[held[subject]] > 1).all():
            left = left - held[subject]
            drawn.append(subject)
    return np.array(sorted(drawn), dtype=np.int64)


def _check_classes(problem: Problem, fold: Fold) -> None:
    trained = set(np.unique(problem.class_of[fold.train]).tolist())
    absent = [name for at, name in enumerate(problem.classes) if at not in trained]
    if absent:
        raise InputError(
            f"label {problem.label!r}, {_described(fold)}",
            found=f"no training window of class {_listed(absent)}",
            expected="every class among the training subjects",
            do="Use other folds, more subjects, or leave these classes out when converting.",
        )
    if not len(fold.val):
        raise InputError(
            f"label {problem.label!r}, {_described(fold)}",
            found="no subject that could validate without taking a class from training",
            expected="at least two training subjects of each class",
            do="Use other folds, or more subjects.",
        )


def _described(fold: Fold) -> str:
    return "the shard set's splits" if fold.name == "test" else f"tested on {fold.name}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
