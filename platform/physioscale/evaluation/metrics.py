"""Balanced accuracy, Cohen's kappa and AUROC, with bootstrap intervals over subjects.

In:  probabilities (N, K) float64, labels (N,) int64 in [0, K), subjects (N,) int64 in [0, S).
Out: one figure per resample, (R,) float64; NaN where a resample does not define it.

A resample draws S subjects with replacement: windows of one person are not independent of each
other, so an interval over windows would be far too narrow. R resamples are computed together, by
weighting every window with how often its subject was drawn.

Letters: N windows, K classes, S subjects, R resamples, G groups of equal scores.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

METRICS = ("balanced_accuracy", "kappa", "auroc")
NUM_RESAMPLES = 1000
# Resamples held in memory at once: 64 of 10,000 windows are 5 MB per array.
_RESAMPLES_AT_ONCE = 64


def subject_weights(num_subjects: int, *, seed: int, resamples: int = NUM_RESAMPLES) -> FloatArray:
    """Return (R, S) how often each subject is drawn in each resample; rows sum to S."""
    rng = np.random.default_rng(seed)
    share = np.full(num_subjects, 1.0 / num_subjects)
    return rng.multinomial(num_subjects, share, size=resamples).astype(np.float64)


def compute_metrics(
    probabilities: FloatArray, labels: IntArray, *, subjects: IntArray, weights: FloatArray
) -> dict[str, FloatArray]:
    """Return each of `METRICS` for each row of `weights` (R, S).

    A class without a window in a resample counts neither in the balanced accuracy nor in the AUROC,
    which is the mean of one class against the rest over the classes that are there.
    """
    parts = [
        _metrics(probabilities, labels, subjects, part)
        for part in _chunks(weights, _RESAMPLES_AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


def _chunks(weights: FloatArray, size: int) -> Iterator[FloatArray]:
    for at in range(0, len(weights), size):
        yield weights[at : at + size]


def _metrics(
    probabilities: FloatArray, labels: IntArray, subjects: IntArray, weights: FloatArray
) -> Mapping[str, FloatArray]:
    confusion = _confusion(probabilities, labels, subjects, weights)
    return {
        "balanced_accuracy": _balanced_accuracy(confusion),
        "kappa": _kappa(confusion),
        "auroc": _auroc(probabilities, labels, weights[:, subjects]),
    }


def _confusion(
    probabilities: FloatArray, labels: IntArray, subjects: IntArray, weights: FloatArray
) -> FloatArray:
    """Return (R, K, K): true class, then predicted class."""
    num_subjects, num_classes = weights.shape[1], probabilities.shape[1]
    cells = (subjects * num_classes + labels) * num_classes + probabilities.argmax(axis=1)
    counts = np.bincount(cells, minlength=num_subjects * num_classes**2)
    # (R, S) @ (S, K * K) -> (R, K, K)
    summed = weights @ counts.reshape(num_subjects, num_classes**2).astype(np.float64)
    return summed.reshape(-1, num_classes, num_classes)


def _balanced_accuracy(confusion: FloatArray) -> FloatArray:
    right, total = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    return _mean_of_defined(right, total, defined=total > 0)


def _kappa(confusion: FloatArray) -> FloatArray:
    total = confusion.sum(axis=(1, 2))
    observed = np.trace(confusion, axis1=1, axis2=2) / total
    chance = (confusion.sum(axis=1) * confusion.sum(axis=2)).sum(axis=1) / total**2
    # With one class everywhere chance is 1, and nothing is left to agree beyond it.
    kappa: FloatArray = np.divide(
        observed - chance, 1 - chance, out=np.full_like(observed, np.nan), where=chance < 1
    )
    return kappa


def _auroc(probabilities: FloatArray, labels: IntArray, weights: FloatArray) -> FloatArray:
    """Return (R,) from window weights (R, N)."""
    num_classes = probabilities.shape[1]
    won = np.zeros((len(weights), num_classes))
    pairs = np.zeros((len(weights), num_classes))
    for each in range(num_classes):
        won[:, each], pairs[:, each] = _won_pairs(probabilities[:, each], labels == each, weights)
    return _mean_of_defined(won, pairs, defined=pairs > 0)


def _won_pairs(
    scores: FloatArray, positive: NDArray[np.bool_], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (R,) pairs of a positive and a negative that are ranked rightly, and all pairs.

    A pair of equal scores is half won.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    # (R, N) -> (R, G)
    ones = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    zeros = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(zeros, axis=1) - zeros
    won: FloatArray = (ones * (below + 0.5 * zeros)).sum(axis=1)
    return won, ones.sum(axis=1) * zeros.sum(axis=1)


def _mean_of_defined(
    numerator: FloatArray, denominator: FloatArray, *, defined: NDArray[np.bool_]
) -> FloatArray:
    """Return (R,) the mean over classes of the ratios that are defined, NaN where none is."""
    ratios = np.divide(numerator, denominator, out=np.zeros_like(denominator), where=defined)
    count = defined.sum(axis=1)
    mean: FloatArray = np.divide(
        ratios.sum(axis=1), count, out=np.full(len(count), np.nan), where=count > 0
    )
    return mean
