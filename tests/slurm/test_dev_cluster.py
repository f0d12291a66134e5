"""`slurm/dev_cluster.py`: it starts what it says, ends all of it, and refuses clearly."""

import json
import os
import re
import runpy
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.slurm.conftest import Cluster

Run = Callable[..., CompletedProcess[str]]

DEV_CLUSTER = Path(__file__).resolve().parents[2] / "slurm" / "dev_cluster.py"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Return a folder with a path that is short enough for UNIX sockets."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as root:
        yield Path(root) / "cluster"


def command_lines() -> dict[int, str]:
    """Return the command line of every process of this machine; "" for one that has ended."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_check_names_the_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(DEV_CLUSTER))
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(module["ClusterError"], match=r"munged, slurmctld, slurmd not found; .*apt"):
        module["check"]()


def test_check_asks_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(DEV_CLUSTER))
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/sbin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(module["ClusterError"], match="run this as root"):
        module["check"]()


@pytest.mark.slurm
def test_both_nodes_run_a_task_each(cluster: "Cluster") -> None:
    told = cluster.run("srun", "--nodes=2", "sh", "-c", "echo $SLURMD_NODENAME")
    assert sorted(told.split()) == ["n1", "n2"]


@pytest.mark.slurm
def test_down_ends_every_process_and_leaves_other_clusters_alone(
    cluster: "Cluster", dev_cluster: Run, short_folder: Path
) -> None:
    started = dev_cluster("up", str(short_folder))
    assert started.returncode == 0, started.stderr
    other = cluster.pointed_at(short_folder / "slurm.conf")
    marker = f"86{os.getpid()}"
    other.run("sbatch", "--output=/dev/null", f"--wrap=srun sleep {marker}")
    other.run("sbatch", "--output=/dev/null", "--begin=now+1hour", "--wrap=true")
    deadline = time.monotonic() + 20
    while not any(marker in line for line in command_lines().values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    pids = [entry[0] for entry in json.loads((short_folder / "pids.json").read_text()).values()]

    ended = dev_cluster("down", str(short_folder))

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = command_lines()
    assert len(pids) == 4
    assert [lines[pid] for pid in pids if lines.get(pid)] == []
    assert [line for line in lines.values() if f"sleep {marker}" in line] == []
    assert not short_folder.exists()
    assert cluster.run("scontrol", "ping").count("UP") == 1


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("action", "folder", "message"),
    [
        ("up", ".", r"is not empty; `down` first, or name another folder"),
        ("up", "x" * 80, r"too long a path for UNIX sockets; name a shorter one"),
        ("down", ".", r"no cluster in .*: it has no pids\.json"),
    ],
)
def test_it_refuses(
    cluster: "Cluster", dev_cluster: Run, tmp_path: Path, action: str, folder: str, message: str
) -> None:
    (tmp_path / "precious").write_text("data")
    done = dev_cluster(action, str(tmp_path / folder))
    assert done.returncode == 2
    assert re.search(rf"^error: .*{message}", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
