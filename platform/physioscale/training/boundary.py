"""What happens between two global steps: rows, checkpoints, and the end of a launch.

A Lightning callback that every rank runs in the same order; rank 0 writes. Metrics are read from
the device once per `log_every_steps`, before each checkpoint and at the end.
"""

import functools
import json
import logging
import resource
import sys
import time
from typing import Any

import torch
import torch.distributed
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from physioscale.config import config_hash
from physioscale.contract import publish_bytes
from physioscale.streaming import Batch
from physioscale.tracking import Row, RowWriter, Views
from physioscale.training.checkpoint import (
    begin_checkpoint,
    checkpoint_name,
    publish_checkpoint,
    retain,
    temporary_path,
)
from physioscale.training.launch import LaunchPlan
from physioscale.training.loader import TrainLoader
from physioscale.training.module import PretrainingModule
from physioscale.training.signals import Agreement, StopRequest
from physioscale.training.state import read_state_into, write_state

STATE_FILE = "state.json"
_log = logging.getLogger(__name__)


class StepBoundary(Callback):
    """Counts global steps and does what is due after each."""

    def __init__(self, plan: LaunchPlan, *, writer: RowWriter | None, views: Views | None) -> None:
        """`writer` and `views` are given on rank 0 only."""
        self.step = plan.first_step
        """Updates taken so far."""
        self.signum = 0
        """The signal that ended the launch; 0 if none did."""
        self._plan = plan
        self._writer = writer
        self._views = views
        self._stop = StopRequest()
        self._agreement: Agreement | None = None
        self._pending: list[Row] = []
        self._meter = _Meter(plan.loader)
        self._damage_logged = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning's SIGTERM handler broadcasts inside the handler; ours takes its place.
        self._stop.install()
        self._agreement = Agreement(trainer.world_size)
        self._meter.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        module = _ours(pl_module)
        windows = len(batch) * trainer.world_size
        tokens = self._plan.parts.tokens_per_window(self._plan.config, batch.signal.shape[1])
        self._meter.count(windows=windows, tokens=windows * tokens)
        if (batch_idx + 1) % self._plan.accumulation == 0:
            module.recorder.close_step()
            self._after_step(trainer, module, batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._agreement is not None:
            self._agreement.finish()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the checkpoint that this launch goes on from; the optimizer exists by now."""
        if self._plan.first_step:
            name = checkpoint_name(self._plan.first_step)
            read_state_into(trainer, pl_module, self._plan.run.checkpoints / name)

    def _after_step(self, trainer: Trainer, module: PretrainingModule, batch: Batch) -> None:
        self.step = batch.step + 1
        self._pending.append(
            {
                "step": self.step,
                "epoch": batch.epoch,
                "lr": module.learning_rate(batch.step),
                "attempt": self._plan.attempt,
            }
        )
        assert self._agreement is not None
        signum = self._agreement.exchange(self._stop.signum)
        settings = self._plan.config.trainer
        # A launch that has all its steps was not ended by a signal, even if one came.
        self.signum = 0 if self.step == self._plan.last_step else signum
        ends = self.step == self._plan.last_step or bool(signum)
        saves = ends or self.step % settings.checkpoint_every_steps == 0
        if saves or self.step % settings.log_every_steps == 0:
            self._flush(trainer, module)
        if saves:
            self._save(trainer, module)
        if self.signum:
            trainer.should_stop = True

    def _flush(self, trainer: Trainer, module: PretrainingModule) -> None:
        mean = functools.partial(_mean_over_ranks, world_size=trainer.world_size)
        metrics = module.recorder.take(mean)
        rows = [{**row, **m} for row, m in zip(self._pending, metrics, strict=True)]
        self._pending = []
        # Reading the metrics waited for the device, so the clock covers whole steps.
        rows[-1] |= self._meter.lap(num_steps=len(rows))
        rows[-1]["damaged_windows"] = self._count_damage(module)
        if self._writer is not None and self._views is not None:
            self._writer.write(rows)
            self._views.write(rows)

    def _count_damage(self, module: PretrainingModule) -> int:
        """Log what this rank had to replace since the last flush; return the count of all ranks."""
        damaged = self._plan.loader.damaged
        for reason in list(damaged.values())[self._damage_logged :]:
            _log.warning("rank %d replaced a window: %s", self._plan.layout.rank, reason)
        self._damage_logged = len(damaged)
        count = torch.tensor([float(len(damaged))], device=module.device)
        world_size = self._plan.layout.world_size
        return round(float(_mean_over_ranks(count, world_size=world_size)) * world_size)

    def _save(self, trainer: Trainer, module: PretrainingModule) -> None:
        plan, folder = self._plan, self._plan.run.checkpoints
        began = time.perf_counter()
        if self._writer is not None:
            self._writer.sync()
            begin_checkpoint(folder, step=self.step)
        trainer.strategy.barrier("checkpoint begun")
        temporary = temporary_path(folder, step=self.step)
        write_state(trainer, module, temporary)
        trainer.strategy.barrier("checkpoint written")
        if self._writer is not None:
            publish_bytes(temporary / STATE_FILE, self._state())
            publish_checkpoint(folder, step=self.step)
            retain(folder, keep=plan.config.trainer.keep_checkpoints)
        trainer.strategy.barrier("checkpoint published")
        self._meter.pause(time.perf_counter() - began)

    def _state(self) -> bytes:
        plan = self._plan
        state = {
            "step": self.step,
            "stream": plan.stream.state(self.step),
            "config_hash": config_hash(plan.config),
            "strategy": plan.layout.strategy,
            "world_size": plan.layout.world_size,
            "attempt": plan.attempt,
        }
        return f"{json.dumps(state, indent=2)}\n".encode()


class _Meter:
    """Throughput since the last lap; time spent on checkpoints is left out."""

    def __init__(self, loader: TrainLoader) -> None:
        self._loader = loader
        self._began = self._waited = 0.0
        self._windows = self._tokens = 0

    def start(self) -> None:
        self._began, self._waited = time.perf_counter(), self._loader.wait_s
        self._windows = self._tokens = 0

    def count(self, *, windows: int, tokens: int) -> None:
        self._windows += windows
        self._tokens += tokens

    def pause(self, seconds: float) -> None:
        self._began += seconds

    def lap(self, *, num_steps: int) -> Row:
        elapsed = time.perf_counter() - self._began
        row = {
            "samples_per_s": self._windows / elapsed,
            "tokens_per_s": self._tokens / elapsed,
            "loader_wait_share": (self._loader.wait_s - self._waited) / elapsed,
            "step_time_s": elapsed / num_steps,
            "peak_memory_mib": _peak_memory_mib(),
        }
        self.start()
        return row


def _ours(module: LightningModule) -> PretrainingModule:
    assert isinstance(module, PretrainingModule)
    return module


def _mean_over_ranks(values: Tensor, *, world_size: int) -> Tensor:
    if world_size > 1:
        torch.distributed.all_reduce(values)
        values /= world_size
    return values


def _peak_memory_mib() -> float:
    """Return the most memory used so far: of the GPU's allocator, or of this process on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
