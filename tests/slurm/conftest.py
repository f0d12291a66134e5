"""A real SLURM cluster for the tests of this folder, and jobs on it.

The cluster is the one of `slurm/dev_cluster.py`: two nodes on this host. Its folder is not below
pytest's: a UNIX socket's path has no room for that.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from physioscale.testing import write_bids_corpus

SLURM = Path(__file__).resolve().parents[2] / "slurm"
DEV_CLUSTER = SLURM / "dev_cluster.py"
TIMEOUT_S = 120.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")


@dataclass(frozen=True)
class Job:
    """A submitted job, or one task of an array."""

    cluster: "Cluster"
    name: str
    """What SLURM's commands call it: 12 or 12_3."""
    log: Path
    folder: Path
    """Where it was submitted."""

    @property
    def output(self) -> str:
        """What it has printed, over all its starts."""
        return self.log.read_text() if self.log.is_file() else ""

    @property
    def facts(self) -> dict[str, str]:
        """SLURM's own facts of the job."""
        words = self.cluster.run("scontrol", "--oneliner", "show", "job", self.name).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    @property
    def state(self) -> str:
        return self.facts["JobState"]

    @property
    def restarts(self) -> int:
        return int(self.facts["Restarts"])

    def rows(self, run: str) -> list[dict[str, Any]]:
        """Return the whole lines of a run's metrics.jsonl."""
        path = self.folder / "runs" / run / "metrics.jsonl"
        text = path.read_text() if path.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for `condition`; fail with the job's output where it does not come true."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                state = f"job {self.name} is {self.state}: no {what} in {timeout_s:.0f} s"
                pytest.fail(f"{state}\n{self.output}")
            time.sleep(0.1)

    def until_ended(self, expected: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the job is over for good, in state `expected`."""
        self.until(lambda: self.state in ENDED, "end", timeout_s)
        assert self.state == expected, self.output

    def until_started_again(self, restarts: int) -> None:
        """Wait until SLURM has started the job `restarts` times beyond the first."""
        self.until(lambda: f"restart {restarts}, on" in self.output, f"restart {restarts}")

    @property
    def ranks(self) -> list[int]:
        """Pids of the processes that train; the nodes are this host."""
        configuration = f"SLURM_CONF={self.cluster.environment['SLURM_CONF']}"
        # srun's own environment has no step.
        marks = {configuration, f"SLURM_JOB_ID={self.name}", "SLURM_STEP_ID=0"}
        return [
            int(process.name)
            for process in Path("/proc").glob("[0-9]*")
            if marks <= set(words_in(process / "environ"))
            and "train" in words_in(process / "cmdline")
        ]

    def signal_ranks(self, signum: signal.Signals) -> None:
        """Send a signal to the processes that train, unknown to SLURM."""
        ranks = self.ranks
        assert ranks, f"nobody trains\n{self.output}"
        for pid in ranks:
            os.kill(pid, signum)

    def check_output(self, pattern: str) -> None:
        """Fail unless the output matches somewhere."""
        assert re.search(pattern, self.output), self.output

    def task(self, index: int) -> "Job":
        """Return one task of an array."""
        return replace(self, name=f"{self.name}_{index}")


@dataclass(frozen=True)
class Sharded:
    """A shard set, and the tasks of the array that made it."""

    folder: Path
    tasks: list[Job]


@dataclass(frozen=True)
class Cluster:
    """SLURM's commands, pointed at the cluster of the tests."""

    environment: dict[str, str]

    def run(self, *command: str, folder: Path | None = None) -> str:
        """Run one of SLURM's commands and return what it prints."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
            cwd=folder,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, script: str, *arguments: str, folder: Path, flags: Sequence[str] = ()) -> Job:
        """Submit one of our scripts from `folder`; flags of sbatch fit it to the small nodes."""
        log = folder / f"{len(list(folder.glob('*.log')))}-{script}.log"
        small = [f"--output={log}", "--time=10", "--cpus-per-task=1", "--gpus-per-node=0"]
        command = ["sbatch", "--parsable", *small, *flags, str(SLURM / script), *arguments]
        log.touch()
        return Job(self, self.run(*command, folder=folder).strip(), log, folder)

    def pointed_at(self, configuration: Path) -> "Cluster":
        """Return the commands for another cluster."""
        return Cluster({**self.environment, "SLURM_CONF": str(configuration)})

    def preempt(self, node: str) -> None:
        """Let a job of more weight take a node for a moment."""
        flags = ["--partition=high", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
        self.run("sbatch", *flags, "--wrap=sleep 0.5")


def words_in(path: Path) -> list[str]:
    """Return the zero-terminated words of a file of /proc; none if the process has ended."""
    try:
        return path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster, or skip where none can be had; end it after the last test."""
    able = run_dev_cluster("check")
    if able.returncode:
        pytest.skip(f"no SLURM here: {able.stderr.strip()}")
    activate = tmp_path_factory.mktemp("environment") / "activate"
    activate.write_text(f"PATH={Path(sys.executable).parent}:$PATH\n")
    with tempfile.TemporaryDirectory(prefix="slurm-") as root:
        folder = Path(root) / "cluster"
        started = run_dev_cluster("up", str(folder))
        assert started.returncode == 0, started.stderr + logs(folder)
        match = re.fullmatch(r"export SLURM_CONF=(\S+)\n", started.stdout)
        assert match is not None, started.stdout
        yield Cluster(
            {**bare_environment(), "SLURM_CONF": match[1], "PHYSIOSCALE_ACTIVATE": str(activate)}
        )
        ended = run_dev_cluster("down", str(folder))
        assert ended.returncode == 0, ended.stderr + logs(folder)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small BIDS corpus of six subjects with two recordings each."""
    return write_bids_corpus(
        tmp_path_factory.mktemp("corpus") / "small", num_subjects=6, seed=0
    ).root


@pytest.fixture(scope="session")
def sharded(cluster: Cluster, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Sharded:
    """Return the shards of `corpus`, made by three tasks of which one was told to stop."""
    folder = tmp_path_factory.mktemp("sharded")
    flags = ["--array=0-2", f"--output={folder}/%a.log"]
    arguments = (str(corpus), "--out", str(folder / "shards"))
    array = cluster.submit("shard.sbatch", *arguments, folder=folder, flags=flags)
    tasks = [replace(array.task(index), log=folder / f"{index}.log") for index in range(3)]
    tasks[1].until(lambda: "+ physioscale shard" in tasks[1].output, "start")
    cluster.run("scancel", "--batch", "--signal=USR1", tasks[1].name)
    for task in tasks:
        task.until_ended("COMPLETED")
    return Sharded(folder / "shards", tasks)


@pytest.fixture(scope="session")
def dev_cluster() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return the function that runs `slurm/dev_cluster.py`."""
    return run_dev_cluster


def run_dev_cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `slurm/dev_cluster.py`."""
    return subprocess.run(
        [sys.executable, str(DEV_CLUSTER), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env=bare_environment(),
        check=False,
    )


def bare_environment() -> dict[str, str]:
    """Return the environment without what a surrounding job or user tells SLURM and the scripts."""
    own = ("SLURM", "SBATCH", "PHYSIOSCALE_WANDB", "PHYSIOSCALE_ACTIVATE", "PHYSIOSCALE_CONTAINER")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def logs(folder: Path) -> str:
    """Return the ends of the daemons' logs."""
    return "\n".join(
        f"--- {path.name}\n{path.read_text()[-2000:]}" for path in folder.glob("logs/*")
    )
