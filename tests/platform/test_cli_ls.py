"""`physioscale ls`: what it lists, as JSON, plain and drawn."""

import json
import sys
from pathlib import Path

import pytest

from physioscale.cli import ls
from physioscale.cli.command import CatalogueEntry
from physioscale.cli.main import main
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.testing.recipes import write_recipe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    return tmp_path


def test_json_lists_recipes_with_what_the_yaml_says(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_recipe(root)
    assert main(["ls", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    row = next(row for row in listed["recipes"] if row["name"] == folder.name)
    assert row == {
        "name": folder.name,
        "title": "One linear layer",
        "kind": "encoder",
        "modality": ["eeg"],
        "variants": ["debug", "wide"],
        "path": str(folder),
    }


def test_plain_text_is_aligned(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_recipe(root)
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipes:"
    header = lines[1]
    row = next(line for line in lines if line.split()[0] == folder.name)
    for column, cell in (("kind", "encoder"), ("variants", "debug, wide"), ("title", "One linear")):
        assert header.index(column) == row.index(cell)


def test_terminal_gets_a_drawn_table(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(root, name="drawn")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["ls"]) == 0
    printed = capsys.readouterr().out
    assert "drawn" in printed
    assert "│" in printed


def test_broken_recipe_is_listed_and_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write_recipe(root), write_recipe(root, yaml="recipe: {}\n")
    assert main(["ls"]) == 2
    captured = capsys.readouterr()
    assert good.name in captured.out
    assert f"error: {bad.name}: " in captured.err
    assert "recipe: title: no value" in captured.err
    assert main(["ls", "--json"]) == 2
    rows = json.loads(capsys.readouterr().out)["recipes"]
    assert "title: no value" in next(row for row in rows if row["name"] == bad.name)["problem"]


def test_catalogues_of_any_distribution_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = CatalogueEntry("one", "The first", Path("one.yaml"), details={"rate": "256 Hz"})
    lists = {"zoo": [entry], "corpora": [], "recipes": []}

    class Entry:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> object:
            return lambda: lists[self.name]

    monkeypatch.setattr(ls, "entry_points", lambda group: [Entry(name) for name in lists])
    assert main(["ls"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "recipes: none",
        "corpora: none",
        "zoo:",
        "  name  rate    title",
        "  one   256 Hz  The first",
    ]
