"""The linear probe: logistic regression on standardised features of a frozen encoder.

In:  features (N, D) float32, the windows of a `Fold`, the class of each window.
Out: probabilities (n, K) float64 of the test windows, and the strength that validation chose.

Means and deviations come from training windows alone. Classes are weighted inversely to their
number of training windows, since balanced accuracy is what we report. The strength C (the inverse
of the L2 penalty) with the best balanced accuracy on the validation subjects wins; among equals the
smallest C, the simplest probe.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from physioscale.evaluation.folds import Fold
from physioscale.evaluation.metrics import compute_metrics

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Ours: from almost nothing to almost no penalty on standardised features.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class ProbeResult:
    """The fitted probe's answers for the test windows of a fold."""

    probabilities: FloatArray
    """(n, K)"""
    strength: float
    """C."""
    converged: bool
    """Whether the chosen fit reached its tolerance within the allowed iterations."""


def fit_probe(
    features: NDArray[np.float32], class_of: IntArray, fold: Fold, *, num_classes: int
) -> ProbeResult:
    """Fit on the fold's training windows, choose C on its validation windows, answer its test."""
    standardised = _standardise(features, fold.train)
    best: tuple[float, LogisticRegression] | None = None
    for strength in STRENGTHS:
        model = _fit(standardised[fold.train], class_of[fold.train], strength)
        score = _balanced_accuracy(
            _probabilities(model, standardised[fold.val], num_classes), class_of[fold.val]
        )
        if best is None or score > best[0]:
            best = (score, model)
    assert best is not None
    model = best[1]
    return ProbeResult(
        probabilities=_probabilities(model, standardised[fold.test], num_classes),
        strength=float(model.C),
        converged=bool((model.n_iter_ < _MAX_ITERATIONS).all()),
    )


def _standardise(features: NDArray[np.float32], train: IntArray) -> FloatArray:
    values = features.astype(np.float64)
    mean, std = values[train].mean(axis=0), values[train].std(axis=0)
    standardised: FloatArray = (values - mean) / np.where(std > 0, std, 1.0)
    return standardised


def _fit(features: FloatArray, class_of: IntArray, strength: float) -> LogisticRegression:
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        # Not silent: `converged` says it, and the table counts it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, class_of)
    return model


def _probabilities(model: LogisticRegression, features: FloatArray, num_classes: int) -> FloatArray:
    # Every class is among the training windows (make_folds), so columns are classes.
    assert len(model.classes_) == num_classes
    probabilities: FloatArray = np.asarray(model.predict_proba(features), dtype=np.float64)
    return probabilities


def _balanced_accuracy(probabilities: FloatArray, class_of: IntArray) -> float:
    together = np.zeros(len(class_of), dtype=np.int64)
    figures = compute_metrics(probabilities, class_of, subjects=together, weights=np.ones((1, 1)))
    return float(figures["balanced_accuracy"][0])
