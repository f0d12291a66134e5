"""`slurm/shard.sbatch`: an array of tasks makes the shard set that one process makes."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.slurm.conftest import Cluster, Sharded

pytestmark = pytest.mark.slurm


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_three_tasks_one_of_them_interrupted_make_the_bytes_of_one_process(
    sharded: "Sharded", corpus: Path, tmp_path: Path
) -> None:
    program = str(Path(sys.executable).parent / "physioscale")
    words = ["shard", str(corpus), "--out", str(tmp_path / "alone"), "--workers", "1"]
    subprocess.run([program, *words], check=True, capture_output=True, timeout=120)
    assert [task.restarts for task in sharded.tasks] == [0, 1, 0]
    assert "unfinished; queueing again after 0 restarts" in sharded.tasks[1].output
    assert contents(sharded.folder) == contents(tmp_path / "alone")
    assert len(list(sharded.folder.glob("*.tar"))) == 3


def test_an_array_with_gaps_is_refused(cluster: "Cluster", corpus: Path, tmp_path: Path) -> None:
    words = (str(corpus), "--out", "shards")
    job = cluster.submit("shard.sbatch", *words, folder=tmp_path, flags=["--array=0,2"])
    for index in (0, 2):
        job.task(index).until_ended("FAILED")
    assert "array 0 to 2 has 2 tasks; give --array=0-LAST without gaps" in job.output
    assert not (tmp_path / "shards").exists()


def test_a_mistake_ends_the_task_with_the_status_of_the_command(
    cluster: "Cluster", tmp_path: Path
) -> None:
    words = ("nowhere", "--out", "shards")
    job = cluster.submit("shard.sbatch", *words, folder=tmp_path, flags=["--array=0"])
    job.task(0).until_ended("FAILED")
    assert job.task(0).facts["ExitCode"] == "2:0"
    assert job.task(0).restarts == 0
