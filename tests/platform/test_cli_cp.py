"""`physioscale cp`: a recipe copied out of the package, and nothing overwritten."""

import os
from pathlib import Path

import pytest

from physioscale.cli.main import main
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.recipes.loader import load_recipe
from physioscale.testing.recipes import write_recipe


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "installed"))
    folder = write_recipe(tmp_path / "installed")
    (folder / "__pycache__").mkdir()
    return folder


def test_copy_is_a_recipe_of_its_own_name(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "deep" / "mine"
    copy = f"{source.name}_copy"
    assert main(["cp", source.name, str(folder), "--name", copy]) == 0
    assert f"{ENVIRONMENT_VARIABLE}={folder} physioscale validate {copy}" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / copy).iterdir()) == [
        "model.py",
        "recipe.yaml",
        "training.py",
    ]
    assert list(folder.iterdir()) == [folder / copy]
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(folder))
    assert main(["validate", copy]) == 0
    assert load_recipe(copy).resolve().recipe == copy


def test_copy_of_the_same_name_takes_its_place(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["cp", source.name, str(tmp_path / "mine")]) == 0
    assert f"takes the place of the installed {source.name}" in capsys.readouterr().out
    roots = f"{tmp_path / 'mine'}{os.pathsep}{source.parent}"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, roots)
    assert load_recipe(source.name).info.folder == tmp_path / "mine" / source.name


def test_nothing_is_overwritten(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standing = tmp_path / "mine" / source.name
    standing.mkdir(parents=True)
    (standing / "recipe.yaml").write_text("precious", encoding="utf-8")
    assert main(["cp", source.name, str(tmp_path / "mine")]) == 2
    assert "it exists already; expected a path where nothing is overw" in capsys.readouterr().err
    assert (standing / "recipe.yaml").read_text("utf-8") == "precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no_such", "DIR"], "unknown recipe 'no_such'"),
        (["RECIPE", "DIR", "--name", "My-Copy"], "recipe name: 'My-Copy'; expected snake_case"),
        (["RECIPE", "DIR/file/below"], "it cannot be written (Not a directory)"),
    ],
)
def test_mistake_is_named(
    source: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    filled = [w.replace("RECIPE", source.name).replace("DIR", str(tmp_path)) for w in words]
    assert main(["cp", *filled]) == 2
    assert message in capsys.readouterr().err
