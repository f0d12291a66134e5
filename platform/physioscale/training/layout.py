"""Where a run runs: accelerator, ranks and strategy, decided and checked before anything starts."""

import os
from dataclasses import dataclass

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from physioscale.config import RunConfig, TrainerConfig
from physioscale.errors import InputError

ZERO_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


@dataclass(frozen=True)
class RankLayout:
    """The processes of a run, seen from one of them."""

    accelerator: str
    """cpu or cuda."""
    devices: int
    """Ranks per node."""
    nodes: int
    strategy: str
    """single, ddp, zero1, zero2 or zero3."""
    rank: int
    """This process's number over all nodes."""
    environment: ClusterEnvironment

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.devices * self.nodes

    @property
    def zero_stage(self) -> int:
        """Stage of DeepSpeed's ZeRO; 0 without DeepSpeed."""
        return ZERO_STAGES.get(self.strategy, 0)

    @property
    def processes_exist(self) -> bool:
        """Whether a launcher (SLURM, torchrun) has started all ranks already."""
        return self.environment.creates_processes_externally


def resolve_layout(config: RunConfig) -> RankLayout:
    """Return the layout of this launch.

    Raises:
        InputError: an accelerator that is not there, more devices than there are, nodes without a
            launcher, or a strategy that does not fit the number of ranks.
    """
    trainer = config.trainer
    accelerator = _accelerator(trainer)
    environment = _environment(trainer)
    strategy = _strategy(config)
    rank = 0
    if trainer.devices * trainer.nodes > 1:
        rank = environment.node_rank() * trainer.devices + environment.local_rank()
    return RankLayout(
        accelerator=accelerator,
        devices=trainer.devices,
        nodes=trainer.nodes,
        strategy=strategy,
        rank=rank,
        environment=environment,
    )


def _accelerator(trainer: TrainerConfig) -> str:
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not available):
        return "cpu"
    if trainer.devices > available:
        raise InputError(
            "trainer.devices" if available else "trainer.accelerator",
            found=f"{trainer.devices} CUDA devices per node asked for, {available} found",
            expected="no more devices than the node has",
            do="Lower trainer.devices, or set trainer.accelerator=cpu. `physioscale doctor` shows "
            "what is found.",
        )
    return "cuda"


def _environment(trainer: TrainerConfig) -> ClusterEnvironment:
    """Return who starts the ranks: torchrun, srun, or rank 0 itself."""
    ranks = trainer.devices * trainer.nodes
    if TorchElasticEnvironment.detect():
        _check_started("torchrun", int(os.environ["WORLD_SIZE"]), ranks)
        return TorchElasticEnvironment()
    # One task is a shell or a batch script inside a job: it may start its own ranks.
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        _check_started("srun", tasks, ranks)
        return _slurm(trainer)
    if trainer.nodes > 1 and not {"MASTER_ADDR", "NODE_RANK"} <= os.environ.keys():
        raise InputError(
            "trainer.nodes",
            found=f"{trainer.nodes} nodes, but no launcher started this process",
            expected="srun or torchrun, or MASTER_ADDR and NODE_RANK in the environment",
            do="Submit the run through SLURM, or set trainer.nodes=1.",
        )
    return LightningEnvironment()


def _slurm(trainer: TrainerConfig) -> SLURMEnvironment:
    if os.environ.get("SLURM_NTASKS_PER_NODE") != str(trainer.devices):
        raise InputError(
            "trainer.devices",
            found=f"{trainer.devices}, in a job with --ntasks-per-node="
            f"{os.environ.get('SLURM_NTASKS_PER_NODE', '(not given)')}",
            expected="a task per device",
            do=f"Give srun or sbatch --ntasks-per-node={trainer.devices}.",
        )
    # Lightning's own handler would save inside a signal handler, on ranks at unlike steps.
    return SLURMEnvironment(auto_requeue=False)


def _check_started(launcher: str, started: int, ranks: int) -> None:
    if started != ranks:
        raise InputError(
            "trainer.devices, trainer.nodes",
            found=f"{ranks} ranks, but {launcher} started {started} processes",
            expected="a process per rank",
            do=f"Start as many with {launcher}, or change trainer.devices and trainer.nodes.",
        )


def _strategy(config: RunConfig) -> str:
    name, ranks = config.trainer.strategy, config.trainer.devices * config.trainer.nodes
    if name == "auto":
        return "single" if ranks == 1 else "ddp"
    if name == "single" and ranks > 1:
        raise InputError(
            "trainer.strategy",
            found=f"'single' with {ranks} ranks",
            expected="one rank",
            do="Set trainer.strategy=ddp, or trainer.devices=1 and trainer.nodes=1.",
        )
    return name
