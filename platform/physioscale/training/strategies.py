"""Lightning's strategy for a layout; DeepSpeed also on a CPU, where it serves tests and trials."""

import os
from typing import Any

import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    SingleDeviceStrategy,
    Strategy,
)
from torch.optim import Optimizer

from physioscale.optim import check_under_zero, set_partitions
from physioscale.training.layout import RankLayout

# Numbers per bucket. The default of 2e8 is for GPUs: here it fills two buffers of 0.8 GB a step.
_CPU_BUCKETS = {"reduce_bucket_size": 5_000_000, "allgather_bucket_size": 5_000_000}


def make_strategy(layout: RankLayout) -> Strategy:
    """Return the strategy of a layout."""
    if layout.strategy == "single":
        device = "cpu" if layout.accelerator == "cpu" else "cuda:0"
        return SingleDeviceStrategy(device=device)
    if layout.strategy == "ddp":
        return DDPStrategy(gradient_as_bucket_view=True)
    settings: dict[str, Any] = {
        "stage": layout.zero_stage,
        # DeepSpeed's own list is about itself; `ZeroStrategy` keeps ours.
        "zero_allow_untested_optimizer": True,
    }
    if layout.accelerator == "cpu":
        # DeepSpeed reads this when it is imported.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        settings |= _CPU_BUCKETS
        return CpuDeepSpeedStrategy(process_group_backend="gloo", **settings)
    return ZeroStrategy(**settings)


class ZeroStrategy(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy with optimizers that keep their meaning under ZeRO.

    Raises:
        InputError: at set-up, for an optimizer that was not shown to take the same steps.
    """

    def _setup_model_and_optimizer(
        self, model: torch.nn.Module, optimizer: Optimizer | None, lr_scheduler: Any = None
    ) -> tuple[Any, Optimizer]:
        assert optimizer is not None  # only where Lightning evaluates, which does not come here
        check_under_zero(optimizer)
        groups = [list(group["params"]) for group in optimizer.param_groups]
        engine, zero_optimizer = super()._setup_model_and_optimizer(model, optimizer, lr_scheduler)
        set_partitions(optimizer, zero_optimizer=zero_optimizer, groups=groups)
        return engine, zero_optimizer


class CpuDeepSpeedStrategy(ZeroStrategy):
    """The same without the parent's checks that the devices are GPUs.

    Only for a CPU: there is one device, so its index is 0 on every rank.
    """

    def setup_environment(self) -> None:
        # The parent refuses any accelerator but CUDA, then does what its own parent does.
        assert self.accelerator is not None
        self.accelerator.setup_device(self.root_device)
        self.setup_distributed()

    def setup_distributed(self) -> None:
        import deepspeed

        # Where a compiler is found DeepSpeed would build this op, which training does not use.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu", 0)
