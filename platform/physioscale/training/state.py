"""What a checkpoint holds of model and optimizer, written and read through Lightning's strategy.

    model.safetensors    the LightningModule's tensors under their names
    optimizer.pt         the optimizer's state (single device and DDP)
    deepspeed/           DeepSpeed's own files, one set per rank (ZeRO)

Every rank calls `write_state` and `read_state_into`; on one device and under DDP, rank 0 writes.
torch's files are read with weights_only, which builds tensors and plain containers only. DeepSpeed
reads its own with pickle: `verify_checkpoint` comes first.
"""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy
from safetensors.torch import load_file, save_file
from torch import Tensor

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.pt"
DEEPSPEED_FOLDER = "deepspeed"


def write_state(trainer: Trainer, module: LightningModule, folder: Path) -> None:
    """Write model and optimizer into `folder`; called by every rank."""
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        trainer.strategy.save_checkpoint({}, folder / DEEPSPEED_FOLDER)
        tensors = _gathered(trainer, module)
    else:
        tensors = module.state_dict()
        if trainer.is_global_zero:
            torch.save(trainer.optimizers[0].state_dict(), folder / OPTIMIZER_FILE)
    if trainer.is_global_zero:
        # Copies, because safetensors refuses tensors that share memory (tied weights).
        copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        save_file(copies, folder / MODEL_FILE)


def read_state_into(trainer: Trainer, module: LightningModule, folder: Path) -> None:
    """Load model and optimizer from `folder`; called by every rank after the strategy's set-up."""
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        trainer.strategy.load_checkpoint(folder / DEEPSPEED_FOLDER)
        return
    module.load_state_dict(load_file(folder / MODEL_FILE))
    state = torch.load(folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
    trainer.optimizers[0].load_state_dict(state)


def _gathered(trainer: Trainer, module: LightningModule) -> dict[str, Tensor]:
    """Return whole tensors on rank 0, gathered one by one where ZeRO-3 has divided them."""
    strategy = trainer.strategy
    assert isinstance(strategy, DeepSpeedStrategy)
    if not strategy.zero_stage_3:
        return module.state_dict()
    import deepspeed

    tensors: dict[str, Tensor] = {}
    named: dict[str, Any] = dict(module.named_parameters()) | dict(module.named_buffers())
    for name in module.state_dict():
        with deepspeed.zero.GatheredParameters([named[name]]):
            if trainer.is_global_zero:
                tensors[name] = named[name].detach().cpu().clone()
    return tensors
