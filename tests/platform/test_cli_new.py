"""`physioscale new`: what it writes validates, passes its own test and learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from physioscale.cli.main import main
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.recipes.loader import load_recipe
from physioscale.recipes.scaffold import CHANNEL_TYPES
from physioscale.testing.shards import write_shard_set


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(folder))
    return folder


def test_scaffold_validates_and_passes_its_own_test(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "my_encoder", "--dir", str(root)]) == 0
    printed = capsys.readouterr().out
    test = root / "my_encoder" / "test_my_encoder.py"
    assert f"next: physioscale validate my_encoder\n      python -m pytest {test}\n" in printed
    assert main(["validate", "my_encoder"]) == 0
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "11 passed" in run.stdout


def test_scaffold_learns(root: Path, tmp_path: Path) -> None:
    assert main(["new", "learner", "--dir", str(root)]) == 0
    write_shard_set(tmp_path / "shards")
    words = ["train", "learner", "variant=debug", "trainer.max_steps=200"]
    words += [f"data.shards={tmp_path / 'shards'}", f"run.root={tmp_path / 'runs'}", "run.name=r"]
    run = subprocess.run(
        [sys.executable, "-m", "physioscale.cli.main", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = (tmp_path / "runs" / "r" / "metrics.jsonl").read_text("utf-8").splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert len(losses) == 200
    # Squared standard deviations of the window: predicting zero gives 1.
    assert sum(losses[-20:]) / 20 < 0.97


def test_files_are_filled_in(root: Path) -> None:
    assert (
        main(["new", "my_ecg", "--modality", "ecg", "--kind", "tokenizer", "--dir", str(root)]) == 0
    )
    folder = root / "my_ecg"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "model.py",
        "recipe.yaml",
        "test_my_ecg.py",
        "training.py",
    ]
    for path in folder.iterdir():
        text = path.read_text("utf-8")
        for word in ("RECIPE_", "CHANNEL_TYPES", "CHANNEL_UNITS"):
            assert word not in text, path
    info = load_recipe("my_ecg").info
    assert (info.kind, info.modality) == ("tokenizer", ("ecg",))
    assert "# my_ecg\n" in (folder / "README.md").read_text("utf-8")


def test_readme_has_the_sections_in_their_order(root: Path) -> None:
    assert main(["new", "sections", "--dir", str(root)]) == 0
    lines = (root / "sections" / "README.md").read_text("utf-8").splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == [
        "Input",
        "How to make the shards",
        "How to run",
        "Variants and parameter counts",
        "Results",
        "Differences from the paper",
        "Not verified",
    ]


@pytest.mark.parametrize("modality", sorted(CHANNEL_TYPES))
def test_every_modality_resolves(root: Path, modality: str) -> None:
    name = f"made_{modality}"
    assert main(["new", name, "--modality", modality, "--dir", str(root)]) == 0
    config = load_recipe(name).resolve(variant="debug")
    assert config.accepts.channel_types == list(CHANNEL_TYPES[modality])


def test_test_goes_to_the_tests_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests" / "recipes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["new", "in_checkout"]) == 0
    assert (tmp_path / "tests" / "recipes" / "test_in_checkout.py").is_file()
    assert not (tmp_path / "recipes" / "in_checkout" / "test_in_checkout.py").exists()
    assert f"next: {ENVIRONMENT_VARIABLE}=recipes physioscale" in capsys.readouterr().out


def test_place_that_cannot_be_written_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "file").write_text("", encoding="utf-8")
    assert main(["new", "fine", "--dir", str(root / "file" / "below")]) == 2
    assert "below/fine: it cannot be written (Not a directory)" in capsys.readouterr().err


def test_nothing_is_overwritten(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "standing").mkdir()
    (root / "standing" / "model.py").write_text("precious", encoding="utf-8")
    assert main(["new", "standing", "--dir", str(root)]) == 2
    assert "standing: it exists already" in capsys.readouterr().err
    assert (root / "standing" / "model.py").read_text("utf-8") == "precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["My-Encoder"], "recipe name: 'My-Encoder'; expected snake_case"),
        (["loader"], "recipe name: 'loader'"),
        (["fine", "--kind", "encodr"], "unknown kind 'encodr'"),
        (["fine", "--modality", "egg"], "unknown modality 'egg'"),
    ],
)
def test_mistake_is_named_and_writes_nothing(
    root: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *words, "--dir", str(root)]) == 2
    assert message in capsys.readouterr().err
    assert list(root.iterdir()) == []
