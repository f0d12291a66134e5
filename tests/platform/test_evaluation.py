"""The evaluation from a checkpoint and labelled shards to figures, and its leakage check.

Recordings of task `many` have twice the channels of those of task `few`, and every token of REVE
carries its electrode's place. With the signal clipped to almost nothing the place is all there is:
any REVE, trained or not, tells these tasks apart.
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from physioscale.contract import (
    RECORDINGS_FILE,
    RECORDINGS_SCHEMA,
    file_sha256,
    open_shard_set,
    to_table,
    write_dataset,
    write_table,
)
from physioscale.contract.identity import Identities, identities, subject_hashes
from physioscale.errors import InputError, MissingInputError
from physioscale.evaluation import EvaluationSettings, evaluate_checkpoint, find_checkpoint
from physioscale.evaluation.checkpoint import Checkpoint, trained_module, untrained_module
from physioscale.evaluation.features import encode_windows, open_streams, recording_of_windows
from physioscale.evaluation.result import make_difference, make_figure
from physioscale.streaming import DamagedShardError
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.runs import write_run
from physioscale.testing.shards import write_shard_set
from physioscale.training.run_folder import RunFolder

FEW, MANY = 8, 16
WINDOW_S = 1.0
SPLITS = ("train",) * 4 + ("val",) + ("test",) * 3
OVERRIDES = ("variant=debug", f"data.window_s={WINDOW_S}", "load.clip=0.01")
ONE_SEED = EvaluationSettings(seeds=1)


def _recordings(
    splits: Sequence[str] = SPLITS, *, prefix: str = "s", run_s: float = 3.0
) -> list[SyntheticRecording]:
    return [
        SyntheticRecording(
            f"{prefix}{number}",
            split=split,
            task=task,
            num_channels=channels,
            run_s=(run_s,),
            labels={"channels": float(channels), "age": 20.0 + number},
        )
        for number, split in enumerate(splits)
        for task, channels in (("few", FEW), ("many", MANY))
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "labelled"
    return write_shard_set(folder, recordings=_recordings()).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs") / "pretraining"
    overrides = [*OVERRIDES, f"data.shards={shards}"]
    return write_run(folder, recipe="reve", overrides=overrides, steps=(10, 20))


@pytest.fixture(scope="module")
def checkpoint(run: RunFolder) -> Checkpoint:
    return find_checkpoint(run.path)


# Checkpoints.


def test_a_run_folder_means_its_newest_checkpoint(run: RunFolder) -> None:
    assert find_checkpoint(run.path).step == 20
    older = find_checkpoint(run.checkpoints / "step-00000010")
    assert older.step == 10
    assert older.config == find_checkpoint(run.path).config
    assert older.recipe.info.name == "reve"


def test_a_checkpoint_can_be_named_from_inside_its_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.checkpoints)
    assert find_checkpoint(Path("step-00000010")).run.path == run.path


def test_the_weights_of_the_checkpoint_are_loaded(checkpoint: Checkpoint, run: RunFolder) -> None:
    stored = load_file(run.checkpoints / "step-00000020" / "model.safetensors")
    state = trained_module(checkpoint).state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[name], stored[name]) for name in stored)
    assert not trained_module(checkpoint).training


def test_an_untrained_module_depends_on_its_seed_alone(checkpoint: Checkpoint) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        untrained_module(checkpoint, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    name = "model.encoder.patch_embedding.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("absent", "no such folder.* There are: .*pretraining"),
        ("pretrainin", "did you mean 'pretraining'"),
        ("pretraining/checkpoints/step-00000015", "no such folder.*step-00000010, .*step-00000020"),
        ("pretraining/checkpoints", "neither a run .* There are: .*step-00000010"),
    ],
)
def test_an_unknown_checkpoint_is_refused_with_those_that_exist(
    run: RunFolder, place: str, message: str
) -> None:
    with pytest.raises(MissingInputError, match=message):
        find_checkpoint(run.path.parent / place)


def test_a_run_without_a_checkpoint_and_an_empty_place_are_refused(
    run: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "young", ignore=shutil.ignore_patterns("step-*"))
    with pytest.raises(MissingInputError, match="a run without a checkpoint yet"):
        find_checkpoint(tmp_path / "young")
    with pytest.raises(MissingInputError, match="Train one with `physioscale train`"):
        find_checkpoint(tmp_path / "nothing" / "near" / "here" / "run")


def test_a_damaged_checkpoint_is_refused(run: RunFolder, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    file = copy / "checkpoints" / "step-00000020" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors: a content that was changed"):
        find_checkpoint(copy)


def test_tensors_of_another_architecture_are_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    stored = load_file(checkpoint.path / "model.safetensors")
    name = "model.encoder.patch_embedding.weight"
    stored[name] = stored[name][:, :-1].contiguous()
    save_file(stored, tmp_path / "model.safetensors")
    other = dataclasses.replace(checkpoint, path=tmp_path)
    with pytest.raises(InputError, match=f"tensors that differ from the recipe's code: {name}"):
        trained_module(other)


# Features.


def test_each_window_gets_the_features_of_its_own_samples(
    checkpoint: Checkpoint, shards: Path
) -> None:
    data = dataclasses.replace(checkpoint.config.data, shards=[str(shards)])
    config = dataclasses.replace(checkpoint.config, data=data)
    streams = open_streams(config, all_splits=True)
    module = trained_module(checkpoint)
    done: list[int] = []
    cpu = torch.device("cpu")
    features = encode_windows(module, streams, batch=5, device=cpu, on_windows=done.append)
    one_by_one = encode_windows(module, streams, batch=1, device=cpu, on_windows=done.append)
    recordings = [recording for stream in streams for recording in stream.recordings]
    places = recording_of_windows(streams)
    for stream in streams:
        stream.close()
    assert sum(done) == 2 * len(features) == 2 * 2 * len(SPLITS) * 3
    np.testing.assert_allclose(features, one_by_one, rtol=1e-4, atol=1e-5)
    # The three windows of a recording are nearer to each other than to the other montage's.
    counts = np.array([len(recordings[place].channel_names) for place in places])
    assert sorted(set(counts.tolist())) == [FEW, MANY]
    few, many = features[counts == FEW].mean(axis=0), features[counts == MANY].mean(axis=0)
    nearer = np.linalg.norm(features - few, axis=1) < np.linalg.norm(features - many, axis=1)
    assert (nearer == (counts == FEW)).all()


def test_features_that_are_not_finite_are_refused(checkpoint: Checkpoint, shards: Path) -> None:
    data = dataclasses.replace(checkpoint.config.data, shards=[str(shards)])
    streams = open_streams(dataclasses.replace(checkpoint.config, data=data), all_splits=True)
    module = trained_module(checkpoint)
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="values that are not finite in 48 of 48 windows"):
        encode_windows(
            module, streams, batch=16, device=torch.device("cpu"), on_windows=lambda count: None
        )
    for stream in streams:
        stream.close()


# The evaluation.


@pytest.mark.parametrize("label", ["task", "channels"])
def test_a_task_that_any_encoder_solves_is_solved(
    checkpoint: Checkpoint, shards: Path, label: str
) -> None:
    lines: list[str] = []
    settings = EvaluationSettings(label=label, seeds=2)
    result = evaluate_checkpoint(checkpoint, [shards], settings=settings, announce=lines.append)
    assert [one.name for one in result.encoders] == ["pretrained", "random"]
    assert [one.seeds for one in result.encoders] == [(0,), (0, 1)]
    for one in result.encoders:
        figure = one.figures["balanced_accuracy"]
        assert (figure.value, figure.low, figure.high) == (1.0, 1.0, 1.0)
        assert one.figures["auroc"].value == 1.0
    assert result.gain is not None
    assert result.gain["kappa"].value == 0.0
    assert (result.tested_subjects, result.tested_windows) == (3, 18)
    assert sum(result.classes.values()) == 48
    assert result.leakage.clean
    assert any(line.startswith("train: 8 recordings of 4 subjects") for line in lines)


def test_the_same_evaluation_gives_the_same_json(checkpoint: Checkpoint, shards: Path) -> None:
    first, again = (
        evaluate_checkpoint(checkpoint, [shards], settings=ONE_SEED).to_json() for _ in range(2)
    )
    assert json.dumps(first, sort_keys=True) == json.dumps(again, sort_keys=True)


def test_every_seed_of_folds_tests_every_subject_once(checkpoint: Checkpoint, shards: Path) -> None:
    settings = EvaluationSettings(
        folds="4", seeds=2, random_baseline=False, allow_overlap=True, batch=16
    )
    result = evaluate_checkpoint(checkpoint, [shards], settings=settings)
    assert result.gain is None
    (one,) = result.encoders
    assert one.seeds == (0, 1)
    assert [(fold.seed, fold.fold) for fold in one.folds] == [
        (seed, f"fold {number}") for seed in (0, 1) for number in (1, 2, 3, 4)
    ]
    assert sum(fold.windows for fold in one.folds) == 2 * 48
    assert (result.tested_subjects, result.tested_windows) == (8, 48)


def test_the_table_shows_every_encoder_and_the_gain(checkpoint: Checkpoint, shards: Path) -> None:
    result = evaluate_checkpoint(checkpoint, [shards], settings=ONE_SEED)
    columns, rows = result.table()
    assert columns == ["encoder", "balanced accuracy", "Cohen's kappa", "AUROC"]
    assert rows[0] == ["pretrained", *["1.000 [1.000, 1.000]"] * 3]
    assert [row[0] for row in rows] == ["pretrained", "random", "pretrained - random"]
    assert result.describe()[-1].startswith("no overlap with pretraining: 0 of 3 tested subjects")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EvaluationSettings(label="sex"), "label 'sex': no recording that has it"),
        (EvaluationSettings(label="age"), "label 'age'.*no training window of class"),
        (EvaluationSettings(folds="half"), "--folds: 'half'"),
        (EvaluationSettings(seeds=0), "--seeds: 0; expected at least 1"),
        (EvaluationSettings(batch=0), "--batch: 0; expected at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    checkpoint: Checkpoint, shards: Path, settings: EvaluationSettings, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_checkpoint(checkpoint, [shards], settings=settings)


def test_what_pretraining_selected_and_forgave_is_not_taken_over(
    tmp_path: Path, shards: Path
) -> None:
    mine = Path(shutil.copytree(shards, tmp_path / "mine"))
    forgiving = ["data.damage_budget=5", "data.stride_s=0.5", "data.weights=[2.0]"]
    overrides = [*OVERRIDES, *forgiving, f"data.shards={shards}", "data.select.tasks=[few]"]
    checkpoint = find_checkpoint(write_run(tmp_path / "r", recipe="reve", overrides=overrides).path)
    settings = EvaluationSettings(seeds=1, random_baseline=False)
    result = evaluate_checkpoint(checkpoint, [mine], settings=settings)
    assert (result.tested_windows, set(result.classes)) == (18, {"few", "many"})
    row = open_shard_set(mine).index.to_pylist()[0]
    data = bytearray((mine / row["shard"]).read_bytes())
    data[row["signal_offset"]] ^= 1
    (mine / row["shard"]).write_bytes(data)
    # A window put in the place of a damaged one would bear the wrong label.
    with pytest.raises(DamagedShardError, match=f"{row['shard']}, byte .*'{row['recording']}'"):
        evaluate_checkpoint(checkpoint, [mine], settings=settings)


def test_shards_without_a_test_split_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    recordings = _recordings(("train", "train", "val"), prefix="other")
    folder = write_shard_set(tmp_path / "set", recordings=recordings).path
    with pytest.raises(InputError, match="no usable recording in split test"):
        evaluate_checkpoint(checkpoint, [folder], settings=ONE_SEED)


def test_shards_without_a_test_split_can_be_folded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    recordings = _recordings(("train", "train", "train", "val"), prefix="other")
    folder = write_shard_set(tmp_path / "set", recordings=recordings, seed=7).path
    settings = EvaluationSettings(folds="leave-one-subject-out", seeds=1, random_baseline=False)
    result = evaluate_checkpoint(checkpoint, [folder], settings=settings)
    assert result.tested_subjects == 4
    assert result.encoders[0].figures["balanced_accuracy"].value == 1.0


# Leakage.


def _leaking(checkpoint: Checkpoint, folder: Path) -> str:
    with pytest.raises(InputError, match="in its pretraining; expected test subjects") as caught:
        evaluate_checkpoint(checkpoint, [folder], settings=ONE_SEED)
    return str(caught.value)


def test_test_subjects_that_pretraining_saw_stop_the_evaluation(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    # Subject s0 was in train of the pretraining; here s0 tests, with other samples.
    recordings = _recordings(("test", "val", "val", "val", "train", "train"))
    folder = write_shard_set(tmp_path / "set", recordings=recordings, seed=3).path
    message = _leaking(checkpoint, folder)
    assert "1 of 1 tested subjects (synthetic/s0) and 0 of 2 tested recordings" in message
    assert "--allow-overlap" in message


def test_test_samples_that_pretraining_saw_under_another_name_stop_it(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    recordings = _recordings(("train", "train", "val", "test"), prefix="other")
    folder = write_shard_set(tmp_path / "set", recordings=recordings, seed=3).path
    seen = open_shard_set(checkpoint.config.data.shards[0]).recordings.to_pylist()[0]
    assert seen["split"] == "train"
    _rewrite(folder, "other3_few", content_sha256=seen["content_sha256"])
    assert "0 of 1 tested subjects () and 1 of 2 tested recordings" in _leaking(checkpoint, folder)


def test_subjects_of_a_linked_corpus_are_the_same_people(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    recordings = _recordings(("test", "val", "train", "train"))
    folder = write_shard_set(tmp_path / "set", recordings=recordings, corpus="b", seed=3).path
    assert evaluate_checkpoint(checkpoint, [folder], settings=ONE_SEED).leakage.clean
    info = open_shard_set(folder).info
    write_dataset(folder, dataclasses.replace(info, linked_corpora=("synthetic",)))
    assert "1 of 1 tested subjects (b/s0)" in _leaking(checkpoint, folder)


def test_allowed_overlap_is_marked(checkpoint: Checkpoint, tmp_path: Path) -> None:
    recordings = _recordings(("test", "val", "train", "train"))
    folder = write_shard_set(tmp_path / "set", recordings=recordings, seed=3).path
    settings = EvaluationSettings(seeds=1, allow_overlap=True, random_baseline=False)
    result = evaluate_checkpoint(checkpoint, [folder], settings=settings)
    assert not result.leakage.clean
    assert result.leakage.overlapping_subjects == ("synthetic/s0",)
    assert result.describe()[-1].startswith("OVERLAP WITH PRETRAINING: 1 of 1 tested subjects")
    assert result.to_json()["leakage"]["clean"] is False


def test_what_the_run_lists_is_compared_even_when_its_shards_are_gone(
    tmp_path: Path, shards: Path
) -> None:
    mine = Path(shutil.copytree(shards, tmp_path / "mine"))
    run = write_run(tmp_path / "run", recipe="reve", overrides=[*OVERRIDES, f"data.shards={mine}"])
    listed = Identities.from_json(json.loads(run.trained_on.read_text()))
    assert listed == identities(open_shard_set(mine), split="train")
    assert len(listed.subjects) == 4
    assert len(listed.contents) == 8
    shutil.rmtree(mine)
    folder = write_shard_set(
        tmp_path / "set", recordings=_recordings(("test", "val", "train", "train")), seed=3
    ).path
    assert "(synthetic/s0)" in _leaking(find_checkpoint(run.path), folder)
    run.trained_on.unlink()
    with pytest.raises(MissingInputError, match=r"data\.shards that are not there: .*mine"):
        evaluate_checkpoint(find_checkpoint(run.path), [folder], settings=ONE_SEED)
    settings = EvaluationSettings(seeds=1, allow_overlap=True, random_baseline=False)
    result = evaluate_checkpoint(find_checkpoint(run.path), [folder], settings=settings)
    assert not result.leakage.checked
    assert result.describe()[-1].startswith("LEAKAGE NOT CHECKED")


def test_a_run_without_the_list_is_compared_by_its_shards(
    run: RunFolder, tmp_path: Path, shards: Path
) -> None:
    copy = RunFolder(Path(shutil.copytree(run.path, tmp_path / "run")))
    copy.trained_on.unlink()
    folder = write_shard_set(
        tmp_path / "set", recordings=_recordings(("test", "val", "train", "train")), seed=3
    ).path
    assert "(synthetic/s0)" in _leaking(find_checkpoint(copy.path), folder)
    copy.trained_on.write_text('{"subjects": 3}')
    with pytest.raises(InputError, match="a damaged list of what the run was trained on"):
        evaluate_checkpoint(find_checkpoint(copy.path), [shards], settings=ONE_SEED)


def _rewrite(folder: Path, recording: str, **values: Any) -> None:
    shard_set = open_shard_set(folder)
    rows = shard_set.recordings.to_pylist()
    next(row for row in rows if row["recording"] == recording).update(values)
    write_table(folder / RECORDINGS_FILE, to_table(rows, schema=RECORDINGS_SCHEMA))
    files = {**shard_set.info.files, RECORDINGS_FILE: file_sha256(folder / RECORDINGS_FILE)}
    write_dataset(folder, dataclasses.replace(shard_set.info, files=files))


def test_a_subject_has_a_hash_per_linked_corpus_and_no_name() -> None:
    own = subject_hashes("a", "01")
    linked = subject_hashes("b", "01", linked=("a", "c"))
    assert len(own) == 1
    assert len(linked) == 3
    assert own < linked
    assert not subject_hashes("a", "02") & linked
    assert all(len(digest) == 64 for digest in linked)


# Figures.


def test_a_figure_is_the_mean_over_seeds_with_its_spread() -> None:
    resampled = [np.linspace(0.0, 1.0, 1001), np.linspace(0.2, 1.2, 1001)]
    figure = make_figure([0.5, 0.7], resampled)
    assert figure.value == pytest.approx(0.6)
    assert figure.low == pytest.approx(0.125)
    assert figure.high == pytest.approx(1.075)
    assert figure.seed_std == pytest.approx(np.sqrt(0.02))
    assert str(figure) == "0.600 [0.125, 1.075] sd 0.141"


def test_a_single_subject_has_no_interval_and_an_undefined_metric_no_value() -> None:
    assert str(make_figure([0.5], [])) == "0.500"
    nothing = make_figure([float("nan")], [np.full(10, np.nan)])
    assert (nothing.value, nothing.low, nothing.seed_std) == (None, None, None)
    assert str(nothing) == "n/a"


def test_a_difference_is_taken_resample_by_resample() -> None:
    # Both swing widely together; their difference does not.
    swing = np.linspace(-1.0, 1.0, 1001)
    difference = make_difference(([0.8], [0.6, 0.8]), ([swing + 0.1], [swing, swing]))
    assert difference.value == pytest.approx(0.1)
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)
