"""Labels, folds by subject, and the probe: what they promise, and what they refuse."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.evaluation.folds import LEAVE_ONE_OUT, SPLIT, Fold, check_folds, make_folds
from physioscale.evaluation.labels import Problem, make_problem
from physioscale.evaluation.metrics import compute_metrics
from physioscale.evaluation.probe import STRENGTHS, fit_probe
from physioscale.streaming import StreamRecording
from physioscale.streaming.selection import StoredFilters

RECORDING = StreamRecording(
    shard_set=0,
    row=0,
    recording="r",
    corpus="tiny",
    subject="s",
    session=None,
    task="rest",
    split="train",
    labels={},
    sampling_rate_hz=200.0,
    stored=StoredFilters(0.1, None, ()),
    columns=np.arange(1),
    stored_channels=1,
    channel_names=("Cz",),
    positions_m=np.zeros((1, 3), dtype=np.float32),
    mean=np.zeros(1, dtype=np.float32),
    std=np.ones(1, dtype=np.float32),
)


def _recording(subject: int, **changes: Any) -> StreamRecording:
    return replace(RECORDING, subject=f"{subject:02d}", **changes)


def _problem(
    num_subjects: int, *, label: str = "task", windows_each: int = 4, val: int = 1, test: int = 1
) -> Problem:
    """Each subject has a recording of each of two tasks, `windows_each` windows long."""
    train = num_subjects - val - test
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    recordings = [
        _recording(subject, task=task, split=splits[subject], labels={"site": subject % 2})
        for subject in range(num_subjects)
        for task in ("open", "closed")
    ]
    places = np.repeat(np.arange(len(recordings)), windows_each)
    return make_problem(recordings, places, label=label)


# Labels.


def test_windows_take_the_class_and_subject_of_their_recording() -> None:
    recordings = [
        _recording(1, task="open"),
        _recording(0, task="closed", split="test"),
        _recording(1, task="closed", corpus="other"),
    ]
    problem = make_problem(recordings, np.array([2, 0, 0, 1]), label="task")
    assert problem.classes == ("closed", "open")
    assert problem.class_of.tolist() == [0, 1, 1, 0]
    assert [problem.subjects[s] for s in problem.subject_of] == [
        "other/01",
        "tiny/01",
        "tiny/01",
        "tiny/00",
    ]
    assert problem.split_of.tolist() == ["train", "train", "train", "test"]


def test_recordings_without_the_label_are_left_out_and_counted() -> None:
    recordings = [
        _recording(0, labels={"state": "a"}),
        _recording(1, labels={"state": None}),
        _recording(2, labels={"state": "b"}),
        _recording(3),
    ]
    problem = make_problem(recordings, np.array([0, 1, 1, 2, 3]), label="state")
    assert problem.windows.tolist() == [0, 3]
    assert problem.unlabelled == 3


def test_few_numbers_are_classes() -> None:
    problem = _problem(4, label="site")
    assert problem.classes == ("0", "1")


def test_many_numbers_are_a_quantity_and_refused() -> None:
    recordings = [_recording(s, labels={"age": 20.5 + s}) for s in range(12)]
    with pytest.raises(InputError, match=r"label 'age': 12 different numbers \(20\.5 to 31\.5\)"):
        make_problem(recordings, np.arange(12), label="age")


def test_an_unknown_label_is_refused_with_those_that_exist() -> None:
    recordings = [_recording(0, labels={"state": "a"}), _recording(1, labels={"sex": "F"})]
    with pytest.raises(
        InputError, match=r"label 'stat': no recording that has it; did you mean 'state'\?"
    ) as caught:
        make_problem(recordings, np.arange(2), label="stat")
    assert caught.value.expected == "one of: task, state, sex"


def test_recordings_without_any_label_say_how_to_get_one() -> None:
    recordings = [_recording(subject, labels={}, task=None) for subject in range(2)]
    with pytest.raises(
        InputError, match=r"expected a label, but these have none\. Put a labels\.csv"
    ):
        make_problem(recordings, np.arange(2), label="task")


def test_a_label_with_one_value_is_refused() -> None:
    with pytest.raises(InputError, match="label 'task': one value, 'rest', in all 2 recordings"):
        make_problem([_recording(0), _recording(1)], np.arange(2), label="task")


# Folds.


@pytest.mark.parametrize("text", ["split", "leave-one-subject-out", "2", "10"])
def test_ways_of_splitting_are_known_by_name(text: str) -> None:
    assert check_folds(text) == text


@pytest.mark.parametrize("text", ["1", "0", "-3", "2.5", "loso", ""])
def test_another_way_of_splitting_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--folds: .* a number of folds from 2"):
        check_folds(text)


def test_split_takes_the_splits_of_the_shards() -> None:
    problem = _problem(5)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    for split, windows in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
        assert windows.tolist() == np.flatnonzero(problem.split_of == split).tolist()
    assert len(fold.train) + len(fold.val) + len(fold.test) == len(problem.windows)


@pytest.mark.parametrize("folds", [LEAVE_ONE_OUT, "2", "3", "7"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_window_is_tested_once_and_no_subject_stands_on_two_sides(
    folds: str, seed: int
) -> None:
    problem = _problem(7)
    made = make_folds(problem, folds, seed=seed)
    assert len(made) == (7 if folds == LEAVE_ONE_OUT else int(folds))
    tested = np.concatenate([fold.test for fold in made])
    assert sorted(tested.tolist()) == list(range(len(problem.windows)))
    for fold in made:
        sides = [set(problem.subject_of[w].tolist()) for w in (fold.train, fold.val, fold.test)]
        assert all(sides)
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert sum(len(w) for w in (fold.train, fold.val, fold.test)) == len(problem.windows)


def test_the_seed_draws_the_folds_and_repeats_them() -> None:
    problem = _problem(9)
    first, again, other = (make_folds(problem, "3", seed=seed) for seed in (0, 0, 1))
    assert [fold.test.tolist() for fold in first] == [fold.test.tolist() for fold in again]
    assert [fold.test.tolist() for fold in first] != [fold.test.tolist() for fold in other]


def test_validation_never_takes_the_last_subject_of_a_class() -> None:
    # Three subjects of each class: one is tested, one must train, so one may validate.
    recordings = [_recording(s, labels={"group": "ab"[s % 2]}) for s in range(6)]
    problem = make_problem(recordings, np.repeat(np.arange(6), 2), label="group")
    for seed in range(10):
        for fold in make_folds(problem, LEAVE_ONE_OUT, seed=seed):
            assert set(problem.class_of[fold.train].tolist()) == {0, 1}


def test_an_empty_split_is_refused() -> None:
    problem = _problem(4, val=0)
    with pytest.raises(InputError, match="split val: no window with label 'task'"):
        make_folds(problem, SPLIT, seed=0)


def test_a_class_without_training_windows_is_refused() -> None:
    recordings = [
        _recording(s, labels={"group": group}, split=split)
        for s, (group, split) in enumerate(
            [("a", "train"), ("a", "val"), ("b", "val"), ("b", "test"), ("a", "test")]
        )
    ]
    problem = make_problem(recordings, np.arange(5), label="group")
    with pytest.raises(InputError, match="the shard set's splits: no training window of class 'b'"):
        make_folds(problem, SPLIT, seed=0)
    only_one_b = make_problem([recordings[s] for s in (0, 1, 4, 3)], np.arange(4), label="group")
    with pytest.raises(InputError, match="tested on tiny/03: no training window of class 'b'"):
        make_folds(only_one_b, LEAVE_ONE_OUT, seed=0)


def test_classes_that_leave_nobody_to_validate_are_refused() -> None:
    # With two of four subjects tested, one of each class is left: neither can be spared.
    recordings = [_recording(s, labels={"group": "abab"[s]}) for s in range(4)]
    problem = make_problem(recordings, np.arange(4), label="group")
    seeds = [seed for seed in range(20) if _tests_both_classes(seed)]
    assert seeds
    for seed in seeds:
        with pytest.raises(InputError, match="no subject that could validate without taking"):
            make_folds(problem, "2", seed=seed)


def _tests_both_classes(seed: int) -> bool:
    order = np.random.default_rng(seed).permutation(np.arange(4))
    return set((order[0::2] % 2).tolist()) == {0, 1}


def test_more_folds_than_subjects_are_refused() -> None:
    with pytest.raises(InputError, match="--folds 6: 5 subjects with label 'task'"):
        make_folds(_problem(5), "6", seed=0)


# The probe.


def _features(problem: Problem, *, distance: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(problem.windows), 8))
    features[:, 3] += distance * (2 * problem.class_of - 1)
    return features.astype(np.float32)


def _balanced_accuracy(problem: Problem, fold: Fold, features: NDArray[np.float32]) -> float:
    found = fit_probe(features, problem.class_of, fold, num_classes=2)
    figures = compute_metrics(
        found.probabilities,
        problem.class_of[fold.test],
        subjects=np.zeros(len(fold.test), dtype=np.int64),
        weights=np.ones((1, 1)),
    )
    return float(figures["balanced_accuracy"][0])


def test_a_linear_difference_is_found_and_noise_is_not() -> None:
    problem = _problem(12, windows_each=20, val=2, test=4)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    assert _balanced_accuracy(problem, fold, _features(problem, distance=4.0)) > 0.99
    # 160 fair coins: five standard errors of the mean are 0.2.
    assert abs(_balanced_accuracy(problem, fold, _features(problem, distance=0.0)) - 0.5) < 0.2


def test_probabilities_sum_to_one_for_every_test_window() -> None:
    problem = _problem(6)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    found = fit_probe(_features(problem, distance=1.0), problem.class_of, fold, num_classes=2)
    assert found.probabilities.shape == (len(fold.test), 2)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert found.strength in STRENGTHS
    assert found.converged


def test_scale_and_offset_of_a_feature_do_not_matter() -> None:
    problem = _problem(6, windows_each=10)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    features = _features(problem, distance=1.0)
    moved = (features * np.float32(512.0) + np.float32(64.0)).astype(np.float32)
    first = fit_probe(features, problem.class_of, fold, num_classes=2)
    second = fit_probe(moved, problem.class_of, fold, num_classes=2)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-3)


def test_a_feature_that_never_changes_in_training_is_harmless() -> None:
    problem = _problem(6)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    features = _features(problem, distance=3.0)
    features[:, 0] = 7.0
    assert _balanced_accuracy(problem, fold, features) == 1.0


def test_test_windows_have_no_part_in_the_fit() -> None:
    problem = _problem(6, windows_each=10)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    features = _features(problem, distance=1.0)
    first = fit_probe(features, problem.class_of, fold, num_classes=2)
    changed = features.copy()
    changed[fold.test[1:]] *= 1000
    second = fit_probe(changed, problem.class_of, fold, num_classes=2)
    np.testing.assert_array_equal(first.probabilities[0], second.probabilities[0])
    assert first.strength == second.strength


def test_validation_subjects_choose_the_strength() -> None:
    problem = _problem(12, windows_each=10, val=4, test=2)
    (fold,) = make_folds(problem, SPLIT, seed=0)
    rng = np.random.default_rng(5)
    features = rng.normal(size=(len(problem.windows), 60)).astype(np.float32)
    features[:, 0] += 0.7 * (2 * problem.class_of - 1)
    chosen = fit_probe(features, problem.class_of, fold, num_classes=2).strength
    scores = {
        strength: _validation_score(features, problem, fold, strength) for strength in STRENGTHS
    }
    assert len(set(scores.values())) > 2, "the strengths differ, or the test shows nothing"
    best = max(scores.values())
    assert chosen == min(strength for strength, score in scores.items() if score == best)


def _validation_score(
    features: NDArray[np.float32], problem: Problem, fold: Fold, strength: float
) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features[fold.train].astype(np.float64))
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    model.fit(
        scaler.transform(features[fold.train].astype(np.float64)), problem.class_of[fold.train]
    )
    predicted = model.predict(scaler.transform(features[fold.val].astype(np.float64)))
    return float(balanced_accuracy_score(problem.class_of[fold.val], predicted))
