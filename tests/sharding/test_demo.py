"""`physioscale demo`, made small: each printed line is a command, each figure a measured one."""

import contextlib
import io
import json
import shlex
from pathlib import Path

import pytest

from physioscale.cli.main import build_parser, load_commands, main
from physioscale.contract import open_shard_set
from physioscale_sharding.cli.demo import _new_folder

SMALL = ("--subjects", "6", "--steps", "20")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def printed(out: Path) -> list[str]:
    """Run the demo once; return what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert main(["demo", "--out", str(out), *SMALL]) == 0
    return stream.getvalue().splitlines()


def test_every_command_line_it_prints_is_one(printed: list[str]) -> None:
    parser = build_parser(load_commands())
    lines = [line.removeprefix("$ ") for line in printed if line.startswith("$ ")]
    assert [line.split()[1] for line in lines] == ["shard", "verify", "train", "evaluate"]
    next_ones = [line for line in printed[printed.index("What to try next:") :] if "  " in line]
    for line in [*lines, *next_ones]:
        words = shlex.split(line)
        assert words[0] == "physioscale"
        parser.parse_args(words[1:])  # a wrong line would exit


def test_the_broken_file_is_set_aside_and_named(printed: list[str], out: Path) -> None:
    info = open_shard_set(out / "shards").info
    assert info.quarantined == 1
    assert sum(split.recordings for split in info.splits.values()) == 12
    assert all(split.subjects for split in info.splits.values())
    (line,) = [line for line in printed if "set aside: " in line]
    assert "1 file (ends inside its header" in line
    assert "sub-07_task-eyesopen_eeg.edf was broken on purpose" in line


def test_the_loss_it_states_is_that_of_the_run(printed: list[str], out: Path) -> None:
    rows = [json.loads(line) for line in _rows(out)]
    losses = [row["loss"] for row in rows]
    assert len(losses) == 20
    first, last = sum(losses[4:15]) / 11, sum(losses) / 20
    assert f"  loss {first:.3f} -> {last:.3f} (first steps -> last steps of 20)" in printed


def _rows(out: Path) -> list[str]:
    return (out / "runs/demo/metrics.jsonl").read_text().splitlines()


def test_the_probe_it_states_is_the_one_that_was_written(printed: list[str], out: Path) -> None:
    (file,) = (out / "runs/demo/evaluations").iterdir()
    result = json.loads(file.read_text())
    assert result["leakage"]["clean"] is True
    pretrained, random = (
        one["figures"]["balanced_accuracy"]["value"] for one in result["encoders"]
    )
    (line,) = [line for line in printed if "balanced accuracy (chance 0.50)" in line]
    assert f"{result['tested_subjects']} people held out" in line
    assert f"pretrained {pretrained:.3f} " in line
    assert f"random weights {random:.3f} " in line
    gain = result["gain"]["balanced_accuracy"]
    helped = gain["low"] > 0
    verdict = "pretraining helped" if helped else "no clear gain from pretraining in this run"
    assert any(text.startswith(f"  {verdict}: {gain['value']:+.3f}") for text in printed)


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path), *SMALL]) == 2
    assert "something there already; expected a folder that" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--subjects", "3"), "--subjects: 3; expected at least 6"),
        (("--steps", "2"), "--steps: 2; expected at least 20"),
    ],
)
def test_too_little_to_show_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_recipe_stops_it_with_the_message_of_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["demo", "--out", str(tmp_path / "out"), "--recipe", "revee", *SMALL]
    assert main(line) == 2
    assert "unknown recipe 'revee'; did you mean 'reve'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "known before anything is written"


def test_without_out_it_takes_the_next_free_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _new_folder(None) == Path("demo")
    Path("demo").mkdir()
    Path("demo-2").touch()
    assert _new_folder(None) == Path("demo-3")
    assert _new_folder(Path("demo")) == Path("demo")
