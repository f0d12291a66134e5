"""`physioscale evaluate`: the table, the JSON in the run folder, and one message per mistake."""

import json
from pathlib import Path

import pytest

from physioscale.cli.main import main
from physioscale.testing.recordings import synthetic_recordings
from physioscale.testing.runs import write_run
from physioscale.testing.shards import write_shard_set

WRITTEN = "evaluations/step-00000010-synthetic-task-split.json"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "labelled"
    return write_shard_set(folder, recordings=synthetic_recordings(5, duration_s=3.0)).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "debug"
    overrides = ["variant=debug", "data.window_s=1.0", f"data.shards={shards}"]
    return write_run(folder, recipe="reve", overrides=overrides).path


def _line(run: Path, shards: Path, *words: str) -> list[str]:
    return ["evaluate", "reve", "--checkpoint", str(run), "--shards", str(shards), *words]


def test_it_prints_a_table_and_writes_it_into_the_run(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_line(run, shards, "--seeds", "2")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 6 recordings of 3 subjects, 18 windows, 0.01 h"
    title = "Linear probe of reve debug after step 10: task, split:"
    at = lines.index(title)
    assert lines[at + 1].split() == ["encoder", "balanced", "accuracy", "Cohen's", "kappa", "AUROC"]
    names = [line.split("  ")[1] for line in lines[at + 2 : at + 5]]
    assert names == ["pretrained", "random", "pretrained - random"]
    assert (
        "  no overlap with pretraining: 0 of 1 tested subjects, 0 of 2 tested recordings" in lines
    )
    assert lines[-1] == f"written to {run / WRITTEN}"
    content = json.loads((run / WRITTEN).read_text())
    assert (content["recipe"], content["step"], content["label"]) == ("reve", 10, "task")
    assert [encoder["seeds"] for encoder in content["encoders"]] == [[0], [0, 1]]


def test_json_is_what_was_written_and_the_same_each_time(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _line(run, shards, "--json", "--seeds", "1", "--baselines", "none", "--device", "cpu")
    printed = []
    for _ in range(2):
        assert main(line) == 0
        printed.append(capsys.readouterr().out)
        assert json.loads(printed[-1]) == json.loads((run / WRITTEN).read_text())
    assert printed[0] == printed[1]
    assert [encoder["name"] for encoder in json.loads(printed[0])["encoders"]] == ["pretrained"]


def test_overlap_is_an_error_and_marks_the_table_where_it_is_allowed(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = ["--folds", "2", "--seeds", "1", "--baselines", "none"]
    assert main(_line(run, shards, *folds)) == 2
    assert "3 of 5 tested subjects (synthetic/sub-001" in capsys.readouterr().err
    assert main(_line(run, shards, *folds, "--allow-overlap")) == 0
    out = capsys.readouterr().out
    assert "Linear probe of reve debug after step 10: task, 2 (NOT HELD OUT):" in out
    assert "OVERLAP WITH PRETRAINING: 3 of 5 tested subjects" in out
    written = json.loads((run / "evaluations/step-00000010-synthetic-task-2.json").read_text())
    assert written["leakage"]["clean"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--label", "tsak"), "label 'tsak': no recording that has it; did you mean 'task'"),
        (("--folds", "half"), "--folds: 'half'"),
        (("--seeds", "0"), "--seeds: 0; expected at least 1"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(
    run: Path,
    shards: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert main(_line(run, shards, *words)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err


def test_unknown_names_are_told_apart(
    run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_line(run.with_name("debut"), shards)) == 2
    assert "no such folder; did you mean 'debug'" in capsys.readouterr().err
    assert main(_line(run, tmp_path / "shards")) == 2
    assert "no such folder; expected a shard set" in capsys.readouterr().err
    line = _line(run, shards)
    line[1] = "revee"
    assert main(line) == 2
    assert "unknown recipe 'revee'; did you mean 'reve'" in capsys.readouterr().err


def test_a_checkpoint_of_another_recipe_is_refused(
    run: Path,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["new", "other_encoder", "--dir", str(tmp_path)]) == 0
    monkeypatch.setenv("PHYSIOSCALE_RECIPES", str(tmp_path))
    line = _line(run, shards)
    line[1] = "other_encoder"
    capsys.readouterr()
    assert main(line) == 2
    assert (
        "a checkpoint of recipe 'reve'; expected one of 'other_encoder'" in capsys.readouterr().err
    )
