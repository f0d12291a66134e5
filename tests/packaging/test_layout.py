"""The layout of the checkout: what must never appear, and what must be there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("platform/physioscale", "sharding/physioscale_sharding")
TOP_FOLDERS = ("platform", "sharding", "recipes", "slurm", "docker", "tests")


def files_below(folder: str, pattern: str) -> list[Path]:
    """Return the files of a top folder, relative to the root, caches left out."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts)


def is_in_a_package(path: Path) -> bool:
    return any(path.is_relative_to(package) for package in PACKAGES)


def is_template(path: Path) -> bool:
    """Say whether a file is written out by `physioscale new`, and is no module of ours."""
    return "templates" in path.parts


def test_no_init_file_where_it_would_hide_or_double_a_package() -> None:
    found = [path for folder in TOP_FOLDERS for path in files_below(folder, "__init__.py")]
    assert [path for path in found if not is_in_a_package(path) or is_template(path)] == []


def test_packages_have_their_init_file() -> None:
    for package in PACKAGES:
        modules = [path for path in files_below(package, "*.py") if not is_template(path)]
        assert modules
        folders = {path.parent for path in modules}
        assert [path for path in folders if not (ROOT / path / "__init__.py").exists()] == []


def test_python_keeps_its_own_platform_module() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.python_version())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.fullmatch(r"3\.\d+\.\S+\n", run.stdout)


def test_gitignore_is_anchored() -> None:
    lines = (ROOT / ".gitignore").read_text("utf-8").split("\n")
    entries = [line for line in lines if line and not line.startswith("#")]
    # Caches of Python appear in every folder and are in no wheel.
    assert [e for e in entries if not e.startswith("/")] == ["__pycache__/", "*.egg-info/"]


def test_license_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])


@pytest.mark.parametrize("folder", TOP_FOLDERS)
def test_top_folder_is_there_and_holds_something(folder: str) -> None:
    assert files_below(folder, "*")


def test_every_recipe_folder_is_complete_and_tested() -> None:
    folders = {path.parent.name for path in (ROOT / "recipes").glob("*/recipe.yaml")}
    assert folders == {path.name for path in (ROOT / "recipes").iterdir() if path.is_dir()}
    for name in folders:
        for file in ("model.py", "training.py", "README.md"):
            assert (ROOT / "recipes" / name / file).is_file(), f"{name}/{file}"
        assert (ROOT / "tests" / "recipes" / f"test_{name}.py").is_file(), name


def test_code_is_ascii() -> None:
    # Tests may hold other letters: they are about names and texts that people write.
    for folder in ("platform", "sharding", "recipes", "slurm", "docker"):
        for path in files_below(folder, "*.py"):
            assert (ROOT / path).read_text("utf-8").isascii(), path


def test_no_module_is_longer_than_500_lines() -> None:
    folders = [folder for folder in TOP_FOLDERS if folder != "tests"]
    modules = [path for folder in folders for path in files_below(folder, "*.py")]
    lengths = {path: (ROOT / path).read_text("utf-8").count("\n") for path in modules}
    assert {path: length for path, length in lengths.items() if length > 500} == {}
