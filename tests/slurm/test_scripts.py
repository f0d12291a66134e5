"""The sbatch scripts as text: they parse, are strict, and keep a site's values in one block."""

import subprocess
from pathlib import Path

import pytest

SLURM = Path(__file__).resolve().parents[2] / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
BLOCK = "# ---- Set once for your site"


def test_the_three_scripts_are_there() -> None:
    assert [script.name for script in SCRIPTS] == [
        "evaluate.sbatch",
        "pretrain.sbatch",
        "shard.sbatch",
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_bash_parses_it(script: Path) -> None:
    done = subprocess.run(
        ["bash", "-n", str(script)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_strict_before_it_does_anything(script: Path) -> None:
    lines = [line for line in script.read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "set -euo pipefail"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_settings_of_a_site_stand_in_one_block(script: Path) -> None:
    before, block, rest = script.read_text().partition(BLOCK)
    assert block
    inside, _, after = rest.partition("\n# -----")
    assert ': "${PHYSIOSCALE_' in inside
    assert ': "${' not in before + after
    # sbatch stops reading its flags at the first command.
    assert "\n#SBATCH" not in inside + after


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_requeued_job_adds_to_its_log(script: Path) -> None:
    text = script.read_text()
    assert "#SBATCH --requeue\n" in text
    assert "#SBATCH --open-mode=append\n" in text
