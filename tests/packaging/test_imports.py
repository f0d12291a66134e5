"""One-way imports, tried with the forbidden side blocked in a process of its own."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Modules whose import raises stand in for a package that is not installed.
BLOCK_AND_IMPORT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked in this test")
        return None

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
for name in sys.argv[2:]:
    importlib.import_module(name)
print(len(sys.argv) - 2)
"""


def import_with_blocked(blocked: str, modules: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCK_AND_IMPORT, blocked, *modules],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == str(len(modules))


def modules_of(package: str, source_root: str) -> list[str]:
    root = ROOT / source_root
    return sorted(
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in (root / package).rglob("*.py")
        if "templates" not in path.parts
    )


def model_modules() -> list[str]:
    return sorted(
        f"physioscale.recipes.{path.parent.name}.model"
        for path in (ROOT / "recipes").glob("*/model.py")
    )


def test_blocking_works() -> None:
    with pytest.raises(AssertionError, match=r"this is blocked in this test"):
        import_with_blocked("this", ["this"])


def test_library_imports_without_the_converters() -> None:
    modules = modules_of("physioscale", "platform")
    assert len(modules) > 30
    import_with_blocked("physioscale_sharding", modules)


def test_networks_import_with_torch_alone() -> None:
    modules = model_modules()
    assert modules
    import_with_blocked("lightning,pytorch_lightning,deepspeed,webdataset,mne", modules)


def test_no_source_imports_a_recipe_or_a_top_folder_by_name() -> None:
    recipes = {path.parent.name for path in (ROOT / "recipes").glob("*/recipe.yaml")}
    assert recipes
    forbidden = [f"physioscale.recipes.{name}" for name in recipes]
    forbidden += ["recipes", "sharding", "slurm"]
    for folder in ("platform", "sharding", "recipes"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in imported_names(path):
                for bad in forbidden:
                    assert name != bad, path
                    assert not name.startswith(f"{bad}."), path


def test_library_names_no_recipe_in_a_branch() -> None:
    recipes = {path.parent.name for path in (ROOT / "recipes").glob("*/recipe.yaml")}
    for path in (ROOT / "platform").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
                assert not recipes & {str(constant.value) for constant in constants}, path


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["ls"], ["ls", "--json"]])
def test_command_line_starts_without_heavy_libraries(words: list[str]) -> None:
    code = (
        "import contextlib, io, sys\n"
        "from physioscale.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(sys.argv[1:])\n"
        "heavy = ('torch', 'lightning', 'mne', 'deepspeed', 'webdataset')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names
