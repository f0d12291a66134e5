"""The LightningModule that every recipe derives from: wiring, and no mathematics.

A recipe says what the loss of a batch is and how a batch is encoded; the load pipeline, the
optimizer, the learning rate and the metrics are the same for all.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from physioscale.config import RunConfig
from physioscale.streaming import Batch, LoadPipeline
from physioscale.training.loader import Parcel
from physioscale.training.metrics import LOSS, StepRecorder
from physioscale.training.optimizers import build_optimizer, learning_rate


@dataclass(frozen=True)
class Embeddings:
    """What an encoder makes of a batch: tokens (B, N, D) and pooled (B, D)."""

    tokens: Tensor
    pooled: Tensor


class PretrainingModule(LightningModule, ABC):
    """Trains `model` as `config` says.

    Batches come as the stream gives them, (B, C, T) in the shards' rate and unit, and reach `loss`
    and `encode` after the load pipeline, as the recipe's section `load` states. Every random draw
    comes from `batch.draws`. Torch's own generator is seeded anew for every step, rank and
    micro-batch, so that a network with dropout resumes exactly as well.
    """

    def __init__(self, model: nn.Module, config: RunConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.load_pipeline = LoadPipeline(config.load)
        self.recorder = StepRecorder()

    @abstractmethod
    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return scalar metrics; `loss` is minimised, the others are recorded beside it.

        Each must be a mean over the samples of the batch: ranks and micro-batches are averaged.
        """

    @abstractmethod
    def encode(self, batch: Batch) -> Embeddings:
        """Return the embeddings of a batch that went through `load_pipeline`."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Lightning does this as well, but not where DeepSpeed keeps the parameters in bfloat16.
        mixed = self.config.trainer.precision == "bf16-mixed"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            metrics = self.loss(batch)
        self.recorder.add(metrics)
        return metrics[LOSS]

    def configure_optimizers(self) -> Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return build_optimizer(trained, self.config.optimizer)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` updates."""
        return learning_rate(
            step,
            peak_lr=self.config.optimizer.lr,
            schedule=self.config.schedule,
            total_steps=self.config.trainer.max_steps,
        )

    def transfer_batch_to_device(
        self, batch: Parcel, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.unpack(device)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.load_pipeline(batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        micro = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(_step_seed(self.config.seed, batch.step, self.global_rank, micro))
        lr = self.learning_rate(batch.step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr


def _step_seed(*place: Any) -> int:
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
