"""R8 and R9: a conversion survives kills and is the same in parallel."""

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from physioscale.cli.main import main
from physioscale.testing import write_folder_corpus

Shard = Callable[..., int]
Figure = Callable[[str, object], None]

TIMEOUT_S = 300.0
# Shards of 20 kB: each recording (8 s, 4 channels) is an item of its own.
OPTIONS = ("--set", "shard_mb=0.02", "--split", "val=0.25,test=0.25")
COMMAND = [sys.executable, "-m", "physioscale.cli.main"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 6 subjects with two recordings each, and a broken file of a seventh."""
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    names = ("Fp1", "Cz", "O1", "O2")
    write_folder_corpus(
        root, num_subjects=6, duration_s=8, sampling_rate_hz=128, channel_names=names, broken=True
    )
    return root


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the hashes of the set that one process makes in one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(["shard", str(corpus), "--out", str(out), "--workers", "1", *OPTIONS]) == 0
    return hashes(out)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the report, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "report.html"
    }


def start(corpus: Path, out: Path, *words: str) -> "subprocess.Popen[bytes]":
    """Start a conversion in a process of its own."""
    command = [*COMMAND, "shard", str(corpus), "--out", str(out), *words, *OPTIONS]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.promise(
    "R8",
    asked="20 kills at random moments, then a rerun: every sha256 equals an undisturbed run's",
    full=20,
    small=3,
)
def test_kills_change_no_byte(
    corpus: Path,
    undisturbed: dict[str, str],
    tmp_path: Path,
    shard: Shard,
    count: int,
    figure: Figure,
) -> None:
    rng = random.Random(8)
    done: list[int] = []
    finished = 0
    out = tmp_path / "out-0"
    for kill in range(count):
        if (out / "dataset.json").is_file():
            assert hashes(out) == undisturbed
            finished += 1
            out = tmp_path / f"out-{kill}"
        with start(corpus, out, "--workers", str(1 + kill % 2)) as process:
            # Imports take longest: so that kills fall into the work, most wait for some of it.
            more = rng.randint(-1, 3)
            if more >= 0:
                _wait_for_items(process, out, _num_done(out) + more)
            time.sleep(rng.uniform(0.0, 0.05 if more >= 0 else 1.0))
            process.send_signal(signal.SIGKILL)
        done.append(_num_done(out))
    assert shard(corpus, out, *OPTIONS) == 0
    assert hashes(out) == undisturbed
    figure("items done at the kills", " ".join(map(str, done)))
    figure("merged before the kill", finished)


def _num_done(out: Path) -> int:
    return len(list((out / ".work/items").glob("*.json")))


def _wait_for_items(process: "subprocess.Popen[bytes]", out: Path, count: int) -> None:
    """Wait until so many items are done, or the process has ended."""
    until = time.monotonic() + TIMEOUT_S
    while (_num_done(out) < count or not (out / ".work").is_dir()) and process.poll() is None:
        assert time.monotonic() < until, "the conversion did not get so far"
        time.sleep(0.002)


@pytest.mark.promise(
    "R9", asked="1, 2, 8 workers and 3 array tasks at once: same sha256", full=8, small=2
)
def test_workers_and_tasks_change_no_byte(
    corpus: Path,
    undisturbed: dict[str, str],
    tmp_path: Path,
    shard: Shard,
    count: int,
    full: bool,
) -> None:
    for workers in sorted({2, count}):
        out = tmp_path / f"workers-{workers}"
        assert shard(corpus, out, *OPTIONS, workers=workers) == 0
        assert hashes(out) == undisturbed
    # Array tasks see the corpus on different machines, under different paths.
    out = tmp_path / "tasks"
    processes, merged = [], []
    for index in (2, 0, 1):
        root = tmp_path / f"machine-{index}" / "synthetic"
        shutil.copytree(corpus, root)
        words = ("--task", f"{index}/3")
        if full:
            processes.append(start(root, out, "--workers", "1", *words))
        else:
            assert shard(root, out, *OPTIONS, *words) == 0
            merged.append((out / "dataset.json").is_file())
    for process in processes:
        assert process.wait(TIMEOUT_S) == 0
    assert full or merged == [False, False, True]
    assert hashes(out) == undisturbed
