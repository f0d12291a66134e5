"""A required test that skips is a failure: shown on a test file written for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPING = """
import pytest

@pytest.mark.realdata
def test_that_skips():
    pytest.skip("no folder")

def test_without_the_marker():
    pytest.skip("not asked for")
"""


@pytest.mark.parametrize(("required", "counts"), [("", "2 skipped"), ("gpu realdata", "1 failed")])
def test_a_required_marker_turns_a_skip_into_a_failure(
    tmp_path: Path, required: str, counts: str
) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "PHYSIOSCALE_REQUIRE": required}
    result = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert counts in result.stdout
    assert (result.returncode == 0) == (not required)
