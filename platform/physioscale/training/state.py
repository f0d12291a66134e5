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
    """Return whole float32 tensors on rank 0, gathered one by one; every rank takes part.

    Under bf16-mixed the network's own parameters are bfloat16 copies, so the optimizer's float32
    ones are asked for; what is not trained has none and is taken as it is.
    """
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_get_full_fp32_param

    named: dict[str, Any] = dict(module.named_parameters()) | dict(module.named_buffers())
    tensors: dict[str, Tensor] = {}
    for name in module.state_dict():
        if named[name].requires_grad:
            whole = safe_get_full_fp32_param(named[name])
        else:
            with GatheredParameters([named[name]]):
                whole = named[name].detach().clone()
        if trainer.is_global_zero:
            tensors[name] = whole.cpu()
    return tensors
