"""The distribution: built, looked into, installed into a clean environment and run from there."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from physioscale import __version__

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
# Where each folder of the checkout lies in the wheel.
PLACES = {
    "platform/physioscale": "physioscale",
    "sharding/physioscale_sharding": "physioscale_sharding",
    "recipes": "physioscale/_resources/recipes",
    "slurm": "physioscale/_resources/slurm",
}


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program without the variables that would lead it to this checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PHYSIOSCALE"))}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the sdist, and the wheel that was built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new environment with the wheel; what it depends on is lent by this one."""
    home = tmp_path_factory.mktemp("clean") / "env"
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(
        run(
            home / "bin/python",
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
            cwd=home,
        ).strip()
    )
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        home / "bin/python",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        built[1],
        cwd=home,
    )
    # The folder itself, and not as a site folder: its own .pth files, among them that of the
    # editable install, are then not read. Behind the wheel's folder, so that the wheel wins.
    (site / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return home


def source_files() -> dict[str, Path]:
    """Return every file that the wheel must hold: its place there -> its place here."""
    return {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}": path
        for folder, place in PLACES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_every_file_of_the_packages_and_no_other(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        info = f"physioscale-{__version__}.dist-info/"
        assert {name for name in names if not name.startswith(info)} == set(source_files())
        for name, path in source_files().items():
            assert wheel.read(name) == path.read_bytes(), name


def test_wheel_installs_two_names(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
    info = f"physioscale-{__version__}.dist-info"
    assert tops == {"physioscale", "physioscale_sharding", info}


def test_wheel_holds_the_files_that_are_not_code(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
    for start, end in (
        ("physioscale/_resources/recipes/", "/recipe.yaml"),
        ("physioscale/_resources/recipes/", "/model.py"),
        ("physioscale/_resources/slurm/", ""),
        ("physioscale/recipes/templates/", "/recipe.yaml"),
        ("physioscale_sharding/corpora/", ".yaml"),
        ("physioscale_sharding/profiles/", ".yaml"),
        ("physioscale/", "/py.typed"),
        ("physioscale_sharding/", "/py.typed"),
    ):
        assert any(name.startswith(start) and name.endswith(end) for name in names), (start, end)


def test_metadata_is_what_a_reader_of_the_index_needs(built: tuple[Path, Path]) -> None:
    info = f"physioscale-{__version__}.dist-info"
    with zipfile.ZipFile(built[1]) as wheel:
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert (metadata["Name"], metadata["Version"]) == ("physioscale", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload()


def test_sdist_holds_the_tests_and_no_local_folder(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        tops = {name.split("/")[1] for name in sdist.getnames() if "/" in name}
    assert {"platform", "sharding", "recipes", "slurm", "docker", "tests", "README.md"} <= tops
    assert not tops & {".venv", "runs", "shards", "demo", "data", "wandb", "build", "dist"}


def test_packages_come_from_the_clean_environment(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json, physioscale, physioscale_sharding, torch, sys\n"
        "print(json.dumps([physioscale.__file__, physioscale_sharding.__file__, sys.path]))\n"
    )
    *files, path = json.loads(run(installed / "bin/python", "-c", code, cwd=tmp_path))
    for file in files:
        assert Path(file).is_relative_to(installed), file
    # The environment that runs the tests may lie in the checkout; its sources must not be seen.
    sources = {ROOT, ROOT / "platform", ROOT / "sharding"}
    assert not sources & {Path(entry).resolve() for entry in path if entry}


def test_ls_lists_recipes_profiles_and_corpora(installed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    listed = json.loads(run(installed / "bin/physioscale", "ls", "--json", cwd=empty))
    recipes = {path.parent.name for path in (ROOT / "recipes").glob("*/recipe.yaml")}
    assert {row["name"] for row in listed["recipes"]} == recipes
    assert recipes
    for catalogue in ("recipes", "profiles", "corpora"):
        assert listed[catalogue], catalogue
        for row in listed[catalogue]:
            assert Path(row["path"]).is_relative_to(installed), row
            assert Path(row["path"]).exists(), row
    assert list(empty.iterdir()) == []


def test_installed_recipes_validate(installed: Path, tmp_path: Path) -> None:
    for recipe in (ROOT / "recipes").glob("*/recipe.yaml"):
        printed = run(installed / "bin/physioscale", "validate", recipe.parent.name, cwd=tmp_path)
        assert printed.endswith("valid\n")


def test_installed_new_writes_a_recipe(installed: Path, tmp_path: Path) -> None:
    run(installed / "bin/physioscale", "new", "fresh", "--dir", tmp_path, cwd=tmp_path)
    printed = run(
        installed / "bin/physioscale",
        "validate",
        "fresh",
        cwd=tmp_path,
        PHYSIOSCALE_RECIPES=str(tmp_path),
    )
    assert printed.endswith("valid\n")


def test_every_command_of_the_installed_distribution_loads(installed: Path, tmp_path: Path) -> None:
    printed = run(installed / "bin/physioscale", "--help", cwd=tmp_path)
    for command in (
        "ls",
        "show",
        "validate",
        "cp",
        "new",
        "shard",
        "verify",
        "train",
        "evaluate",
        "doctor",
        "demo",
    ):
        assert f"\n    {command} " in printed, command
