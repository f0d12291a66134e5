"""Metrics against scikit-learn, and the bootstrap over subjects against repeating their windows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, roc_auc_score

from physioscale.evaluation.metrics import METRICS, compute_metrics, subject_weights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def _answers(
    num_windows: int, num_classes: int, *, seed: int, decimals: int = 12
) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=num_windows)
    labels[:num_classes] = np.arange(num_classes)
    scores = rng.uniform(size=(num_windows, num_classes)) + 0.5 * np.eye(num_classes)[labels]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    # Few decimals give many equal scores.
    return np.round(probabilities, decimals), labels


def _once(probabilities: FloatArray, labels: IntArray) -> dict[str, float]:
    subjects = np.zeros(len(labels), dtype=np.int64)
    figures = compute_metrics(probabilities, labels, subjects=subjects, weights=np.ones((1, 1)))
    return {name: float(values[0]) for name, values in figures.items()}


def _reference(probabilities: FloatArray, labels: IntArray) -> dict[str, float]:
    predicted = probabilities.argmax(axis=1)
    one_against_rest = [
        roc_auc_score(labels == each, probabilities[:, each])
        for each in range(probabilities.shape[1])
    ]
    return {
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "kappa": cohen_kappa_score(labels, predicted),
        "auroc": float(np.mean(one_against_rest)),
    }


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("decimals", [12, 1])
def test_metrics_equal_those_of_scikit_learn(num_classes: int, decimals: int) -> None:
    for seed in range(3):
        answers = _answers(200, num_classes, seed=seed, decimals=decimals)
        assert _once(*answers) == pytest.approx(_reference(*answers), abs=1e-12)


def test_two_classes_give_the_usual_auroc() -> None:
    probabilities, labels = _answers(100, 2, seed=0)
    probabilities[:, 1] = 1 - probabilities[:, 0]
    expected = roc_auc_score(labels, probabilities[:, 1])
    assert _once(probabilities, labels)["auroc"] == pytest.approx(expected, abs=1e-12)


def test_a_resample_equals_repeating_the_windows_of_its_subjects() -> None:
    probabilities, labels = _answers(120, 3, seed=1, decimals=2)
    subjects = np.repeat(np.arange(6), 20)
    weights = subject_weights(6, seed=3, resamples=100)
    figures = compute_metrics(probabilities, labels, subjects=subjects, weights=weights)
    for row in (0, 57, 99):
        times = weights[row].astype(int)
        windows = np.concatenate(
            [np.flatnonzero(subjects == s) for s in np.repeat(range(6), times)]
        )
        expected = _reference(probabilities[windows], labels[windows])
        found = {name: figures[name][row] for name in METRICS}
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_resample_draws_as_many_subjects_as_there_are() -> None:
    weights = subject_weights(5, seed=0)
    assert weights.shape == (1000, 5)
    assert (weights.sum(axis=1) == 5).all()
    # Each subject is drawn once on average: five standard errors of sqrt(0.8 / 1000).
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 * np.sqrt(0.8 / 1000)
    assert not np.array_equal(weights, subject_weights(5, seed=1))


def test_a_class_without_windows_counts_in_no_mean() -> None:
    probabilities, labels = _answers(60, 3, seed=2)
    kept = labels != 2
    found = _once(probabilities[kept], labels[kept])
    two = [roc_auc_score(labels[kept] == each, probabilities[kept][:, each]) for each in (0, 1)]
    assert found["auroc"] == pytest.approx(np.mean(two), abs=1e-12)
    predicted = probabilities[kept].argmax(axis=1)
    recalls = [(predicted[labels[kept] == each] == each).mean() for each in (0, 1)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-12)


def test_one_class_alone_has_no_auroc_and_no_kappa() -> None:
    probabilities = np.tile([0.9, 0.1], (4, 1))
    found = _once(probabilities, np.zeros(4, dtype=np.int64))
    assert found["balanced_accuracy"] == 1.0
    assert np.isnan(found["auroc"])
    assert np.isnan(found["kappa"])


def test_perfect_and_inverted_answers_reach_the_ends() -> None:
    labels = np.array([0, 1, 0, 1])
    right = np.eye(2)[labels]
    assert _once(right, labels) == {"balanced_accuracy": 1.0, "kappa": 1.0, "auroc": 1.0}
    assert _once(1 - right, labels) == {"balanced_accuracy": 0.0, "kappa": -1.0, "auroc": 0.0}
