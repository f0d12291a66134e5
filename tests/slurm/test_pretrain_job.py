"""`slurm/pretrain.sbatch` and `slurm/evaluate.sbatch` on two nodes that SLURM takes away.

The runs read the shards that an array of tasks made. While SLURM makes up its mind, the ranks are
held with SIGSTOP, so that a run of a few seconds cannot end before it is interrupted.
"""

import json
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.slurm.conftest import Cluster, Job, Sharded

pytestmark = pytest.mark.slurm

STEPS = 40
# What depends on the clock, or says which launch wrote the row.
PASSING = {
    "attempt",
    "samples_per_s",
    "tokens_per_s",
    "loader_wait_share",
    "step_time_s",
    "peak_memory_mib",
}


def words(shards: Path, name: str, *, steps: int = STEPS) -> list[str]:
    return [
        "reve",
        "variant=debug",
        f"data.shards={shards}",
        "data.batch_samples=8",
        f"trainer.max_steps={steps}",
        "trainer.log_every_steps=1",
        f"run.name={name}",
    ]


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what may differ between two equal runs."""
    return [{key: row[key] for key in row.keys() - PASSING} for row in rows]


def hold_at_step(job: "Job", run: str, *, attempt: int) -> None:
    """Stop the ranks of launch number `attempt` after a few of its steps."""
    job.until(lambda: sum(row["attempt"] == attempt for row in job.rows(run)) >= 3, "third step")
    job.signal_ranks(SIGSTOP)


def test_time_limit_and_preemption_lose_no_step(
    cluster: "Cluster", sharded: "Sharded", tmp_path: Path
) -> None:
    flags = ["--nodelist=n2", "--signal=B:USR1@60"]
    broken = cluster.submit(
        "pretrain.sbatch", *words(sharded.folder, "broken"), folder=tmp_path, flags=flags
    )
    hold_at_step(broken, "broken", attempt=1)
    cluster.run("scontrol", "update", f"JobId={broken.name}", "EndTime=now+80")
    unbroken = cluster.submit(
        "pretrain.sbatch",
        *words(sharded.folder, "unbroken"),
        folder=tmp_path,
        flags=["--partition=high", "--nodelist=n1"],
    )
    broken.until(lambda: "told to stop" in broken.output, "warning before the time limit")
    broken.signal_ranks(SIGCONT)
    broken.until_started_again(1)
    hold_at_step(broken, "broken", attempt=2)
    cluster.preempt("n2")
    broken.until_started_again(2)
    broken.until_ended("COMPLETED")
    unbroken.until_ended("COMPLETED")

    assert (broken.restarts, unbroken.restarts) == (2, 0)
    broken.check_output(r"told to stop; [01]:\d\d left; asking the run to save")
    assert broken.output.count("SIGTERM: saved after step") == 2
    assert broken.output.count("unfinished; queueing again") == 2
    assert broken.output.count("going on from its checkpoint after step") == 2
    rows = broken.rows("broken")
    assert {row["attempt"] for row in rows} == {1, 2, 3}
    assert lasting(rows) == lasting(unbroken.rows("unbroken"))
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    # W&B is offline unless the site says otherwise.
    assert (tmp_path / "runs" / "unbroken" / "wandb").is_dir()


def test_two_nodes_requeued_without_grace_lose_no_step_and_the_run_is_evaluated(
    cluster: "Cluster", sharded: "Sharded", tmp_path: Path
) -> None:
    two = ["--nodes=2", "--export=ALL,PHYSIOSCALE_WANDB=disabled"]
    broken = cluster.submit(
        "pretrain.sbatch",
        *words(sharded.folder, "broken"),
        folder=tmp_path,
        flags=[*two, "--partition=abrupt"],
    )
    hold_at_step(broken, "broken", attempt=1)
    cluster.preempt("n1")
    unbroken = cluster.submit(
        "pretrain.sbatch",
        *words(sharded.folder, "unbroken"),
        folder=tmp_path,
        flags=[*two, "--partition=high"],
    )
    broken.until_started_again(1)
    unbroken.until_ended("COMPLETED")
    broken.until_ended("COMPLETED")

    assert (broken.restarts, unbroken.restarts) == (1, 0)
    broken.check_output("SIGTERM: saved after step")
    broken.check_output("SLURM is ending this job itself; not asking for another start")
    broken.check_output("MASTER_ADDR=127.0.0.1\n")
    broken.check_output("OMP_NUM_THREADS=1\n")
    rows = broken.rows("broken")
    assert {row["attempt"] for row in rows} == {1, 2}
    assert lasting(rows) == lasting(unbroken.rows("unbroken"))
    launches = json.loads((tmp_path / "runs" / "broken" / "run.json").read_text())["launches"]
    assert [launch["layout"]["nodes"] for launch in launches] == [2, 2]

    probe = cluster.submit(
        "evaluate.sbatch",
        *("reve", "--checkpoint", "runs/broken", "--shards", str(sharded.folder)),
        *("--baselines", "none", "--seeds", "1"),
        folder=tmp_path,
    )
    probe.until_ended("COMPLETED")
    assert "ended with status 0" in probe.output


def test_interrupt_saves_and_does_not_queue_again(
    cluster: "Cluster", sharded: "Sharded", tmp_path: Path
) -> None:
    line = [*words(sharded.folder, "mine"), "tracking.wandb=disabled"]
    job = cluster.submit("pretrain.sbatch", *line, folder=tmp_path)
    hold_at_step(job, "mine", attempt=1)
    cluster.run("scancel", "--signal=INT", job.name)
    job.signal_ranks(SIGCONT)
    job.until_ended("FAILED")
    assert (job.facts["ExitCode"], job.restarts) == ("130:0", 0)
    check_saved_by("SIGINT", job, "mine")


def test_a_run_that_cannot_save_in_time_is_killed_and_starts_again_and_scancel_saves(
    cluster: "Cluster", sharded: "Sharded", tmp_path: Path
) -> None:
    line = [*words(sharded.folder, "stuck"), "tracking.wandb=disabled"]
    flags = ["--export=ALL,PHYSIOSCALE_SAVE_S=2"]
    job = cluster.submit("pretrain.sbatch", *line, folder=tmp_path, flags=flags)
    hold_at_step(job, "stuck", attempt=1)
    cluster.run("scancel", "--batch", "--signal=USR1", job.name)
    job.until_started_again(1)
    assert "not saved within 2 s; ending the run at its last checkpoint" in job.output
    assert "saved after step" not in job.output

    hold_at_step(job, "stuck", attempt=2)
    cluster.run("scancel", job.name)
    job.until_ended("CANCELLED")
    check_saved_by("SIGTERM", job, "stuck")


def check_saved_by(signal_name: str, job: "Job", run: str) -> None:
    """Check that the last step of a run is in a checkpoint."""
    last = job.rows(run)[-1]["step"]
    job.check_output(f"{signal_name}: saved after step {last} of {STEPS}")
    assert (job.folder / "runs" / run / "checkpoints" / f"step-{last:08d}").is_dir()


def test_a_job_that_fails_is_not_queued_again(
    cluster: "Cluster", sharded: "Sharded", tmp_path: Path
) -> None:
    line = [*words(sharded.folder, "wrong"), "trainer.max_stepz=3"]
    job = cluster.submit("pretrain.sbatch", *line, folder=tmp_path)
    job.until_ended("FAILED")
    assert (job.facts["ExitCode"], job.restarts) == ("2:0", 0)
    assert "max_steps" in job.output


@pytest.mark.parametrize(
    ("arguments", "flags", "message"),
    [
        ([], [], "no recipe given; usage: sbatch slurm/pretrain.sbatch RECIPE"),
        (
            ["reve"],
            ["--nodes=2", "--ntasks=3", "--ntasks-per-node=2"],
            "3 tasks on 2 nodes with 2 each; give --nodes and --ntasks-per-node, not --ntasks",
        ),
        (
            ["reve"],
            ["--export=ALL,PHYSIOSCALE_ACTIVATE=gone"],
            "no gone in .*; submit from the checkout, or set PHYSIOSCALE_ACTIVATE",
        ),
    ],
)
def test_a_job_that_cannot_start_says_why(
    cluster: "Cluster", tmp_path: Path, arguments: list[str], flags: list[str], message: str
) -> None:
    job = cluster.submit("pretrain.sbatch", *arguments, folder=tmp_path, flags=flags)
    job.until_ended("FAILED")
    assert job.facts["ExitCode"] == "2:0"
    job.check_output(f"error: {message}")
