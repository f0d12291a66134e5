"""What all encoders of an evaluation share: labelled windows, folds, tested subjects, resamples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.evaluation.features import recording_of_windows
from physioscale.evaluation.folds import Fold, make_folds
from physioscale.evaluation.labels import Problem, make_problem
from physioscale.evaluation.metrics import METRICS, compute_metrics, subject_weights
from physioscale.evaluation.probe import fit_probe
from physioscale.evaluation.result import FoldResult
from physioscale.streaming import Stream, StreamRecording

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# The same resamples for every encoder, so that differences are paired.
_RESAMPLING_SEED = 0


@dataclass(frozen=True)
class SeedResult:
    """All probes of one encoder under one seed."""

    seed: int
    points: Mapping[str, float]
    """Each metric on the pooled answers of all folds."""
    resampled: Mapping[str, FloatArray]
    """(R,) each metric in each resample of the tested subjects; empty for a single subject."""
    folds: tuple[FoldResult, ...]


@dataclass(frozen=True)
class ProbeTask:
    """A problem with its folds."""

    problem: Problem
    folds: Mapping[int, Sequence[Fold]]
    """Per seed."""
    tested: IntArray
    """(n,) windows of the problem that are tested, once each under every seed."""
    recordings: tuple[StreamRecording, ...]
    """The recordings of the tested windows."""

    @property
    def tested_subjects(self) -> IntArray:
        """(S,) numbers of the tested subjects."""
        return np.unique(self.problem.subject_of[self.tested])


def make_task(streams: Sequence[Stream], *, label: str, folds: str, seeds: int) -> ProbeTask:
    """Return the task of probing `label` on the windows of `streams`.

    Raises:
        InputError: as `make_problem` and `make_folds`.
    """
    recordings = [recording for stream in streams for recording in stream.recordings]
    recording_of = recording_of_windows(streams)
    problem = make_problem(recordings, recording_of, label=label)
    per_seed = {seed: make_folds(problem, folds, seed=seed) for seed in range(seeds)}
    tested = np.sort(np.concatenate([fold.test for fold in per_seed[0]]))
    places = np.unique(recording_of[problem.windows[tested]])
    return ProbeTask(
        problem=problem,
        folds=per_seed,
        tested=tested,
        recordings=tuple(recordings[place] for place in places.tolist()),
    )


def probe_seed(features: NDArray[np.float32], task: ProbeTask, *, seed: int) -> SeedResult:
    """Fit a probe for each fold of a seed and score their pooled answers.

    Args:
        features: (N, D) of all windows of the streams.
        task: the problem and its folds.
        seed: one of `task.folds`.
    """
    problem, num_classes = task.problem, len(task.problem.classes)
    labelled = features[problem.windows]
    answers = np.full((len(problem.windows), num_classes), np.nan)
    folds = []
    for fold in task.folds[seed]:
        found = fit_probe(labelled, problem.class_of, fold, num_classes=num_classes)
        answers[fold.test] = found.probabilities
        folds.append(
            FoldResult(
                seed=seed,
                fold=fold.name,
                windows=len(fold.test),
                strength=found.strength,
                converged=found.converged,
                metrics=_defined(_scores(problem, answers, fold.test, None)),
            )
        )
    weights = subject_weights(len(task.tested_subjects), seed=_RESAMPLING_SEED)
    whole = _scores(problem, answers, task.tested, None)
    alone = len(task.tested_subjects) == 1
    return SeedResult(
        seed=seed,
        points={name: float(whole[name][0]) for name in METRICS},
        resampled={} if alone else _scores(problem, answers, task.tested, weights),
        folds=tuple(folds),
    )


def _defined(figures: Mapping[str, FloatArray]) -> dict[str, float | None]:
    """Return single figures; None where a fold has too few classes to define one."""
    values = {name: float(figure[0]) for name, figure in figures.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _scores(
    problem: Problem, answers: FloatArray, windows: IntArray, weights: FloatArray | None
) -> dict[str, FloatArray]:
    """Return each metric (R,) on some windows; without weights of all their subjects, once."""
    subjects, subject_of = np.unique(problem.subject_of[windows], return_inverse=True)
    return compute_metrics(
        answers[windows],
        problem.class_of[windows],
        subjects=subject_of,
        weights=np.ones((1, len(subjects))) if weights is None else weights,
    )
