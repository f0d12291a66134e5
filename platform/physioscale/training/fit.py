"""Train a run, or go on with it: from a resolved configuration to a run folder.

Everything a launch needs is read from the configuration and the run folder, so the same call starts
a run, continues it after a kill, and says so when there is nothing left to do.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning import Trainer

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.recipes.loader import load_recipe
from physioscale.streaming import open_stream
from physioscale.tracking import RowWriter, TensorBoardView, ViewFactory, Views, WandbView
from physioscale.training.boundary import StepBoundary
from physioscale.training.checkpoint import list_checkpoints, read_state, verify_checkpoint
from physioscale.training.launch import LaunchPlan, describe_launch, record_plan
from physioscale.training.layout import ZERO_STAGES, RankLayout, resolve_layout
from physioscale.training.loader import TrainLoader
from physioscale.training.module import PretrainingModule
from physioscale.training.run_folder import (
    RunFolder,
    check_same_plan,
    check_same_run,
    run_folder,
)
from physioscale.training.strategies import make_strategy

_PRECISION = {"32": "32-true", "bf16-mixed": "bf16-mixed"}


@dataclass(frozen=True)
class RunResult:
    """How a launch ended."""

    folder: Path
    """The run folder."""
    step: int
    """Updates taken by all launches together."""
    max_steps: int
    """Updates of the whole run."""
    rank: int
    """Number of this process among the ranks."""
    signum: int = 0
    """The signal that ended the launch early; 0 if none did."""
    tracking_failures: int = 0
    """Calls of TensorBoard, W&B or the console that failed."""

    @property
    def finished(self) -> bool:
        """Whether the run has all its steps."""
        return self.step >= self.max_steps


def fit(
    config: RunConfig,
    *,
    views: Sequence[ViewFactory] = (),
    announce: Callable[[Sequence[str]], None] = lambda lines: None,
) -> RunResult:
    """Train until the run's last step, its `stop_at_step`, or SIGTERM or SIGINT.

    Args:
        config: a resolved configuration.
        views: shown the rows of metrics.jsonl beside TensorBoard and W&B, on rank 0.
        announce: given lines for a person before training starts, on rank 0.

    Raises:
        InputError: shards that do not fit, an impossible layout, a run folder of another
            configuration, a damaged checkpoint.
    """
    parts = load_recipe(config.recipe).parts
    layout = resolve_layout(config)
    run = run_folder(config)
    check_same_run(run, config)
    stream = open_stream(
        config,
        split="train",
        rank=layout.rank,
        world_size=layout.world_size,
        tokens_per_window=lambda channels: parts.tokens_per_window(config, channels),
        pin=layout.accelerator == "cuda",
    )
    try:
        first_step = _first_step(run, layout, plan_hash=stream.plan_hash)
        max_steps = config.trainer.max_steps
        last_step = min(config.trainer.stop_at_step or max_steps, max_steps)
        if first_step >= last_step:
            return RunResult(run.path, first_step, max_steps=max_steps, rank=layout.rank)
        if first_step:
            _check_layout(run, layout)
        batches = stream.train_loader(first_step=first_step, last_step=last_step)
        plan = LaunchPlan(
            config=config,
            parts=parts,
            run=run,
            layout=layout,
            stream=stream,
            loader=TrainLoader(batches, first_step=first_step, last_step=last_step),
            accumulation=batches.accumulation,
            first_step=first_step,
            last_step=last_step,
        )
        torch.manual_seed(config.seed)
        model = parts.build_model(config.model)
        if layout.rank == 0:
            announce(describe_launch(plan, model))
            plan = replace(plan, attempt=record_plan(plan, model))
        return _train(plan, parts.lightning_module(model, config), views)
    finally:
        stream.close()


def _first_step(run: RunFolder, layout: RankLayout, *, plan_hash: str) -> int:
    """Return the step of the newest checkpoint, checked by rank 0; 0 where there is none."""
    checkpoints = list_checkpoints(run.checkpoints)
    if not checkpoints:
        return 0
    if layout.rank == 0:
        verify_checkpoint(checkpoints[-1])
    state = read_state(checkpoints[-1])
    check_same_plan(run, stored_hash=state["stream"]["plan_hash"], plan_hash=plan_hash)
    step: int = state["step"]
    return step


def _check_layout(run: RunFolder, layout: RankLayout) -> None:
    """Refuse a checkpoint that these ranks cannot load."""
    newest = list_checkpoints(run.checkpoints)[-1]
    state = read_state(newest)
    stored, ranks = state["strategy"], state["world_size"]
    whole = not layout.zero_stage and stored not in ZERO_STAGES
    if not whole and (stored, ranks) != (layout.strategy, layout.world_size):
        raise InputError(
            str(newest),
            found=f"written by {stored} on {ranks} ranks, now {layout.strategy} on "
            f"{layout.world_size}",
            expected="the same strategy and number of ranks: ZeRO divides the optimizer's state",
            do="Launch with the layout the run began with.",
        )


def _train(plan: LaunchPlan, module: PretrainingModule, views: Sequence[ViewFactory]) -> RunResult:
    writer, shown = None, None
    if plan.layout.rank == 0:
        writer = RowWriter(plan.run.metrics)
        shown = Views([*_trackers(plan), *views], plan.for_views())
    boundary = StepBoundary(plan, writer=writer, views=shown)
    try:
        with _deterministic_restored(), _quiet_lightning():
            _trainer(plan, boundary).fit(module, train_dataloaders=plan.loader)
    finally:
        if writer is not None and shown is not None:
            shown.close()
            writer.close()
    return RunResult(
        plan.run.path,
        boundary.step,
        max_steps=plan.config.trainer.max_steps,
        rank=plan.layout.rank,
        signum=boundary.signum,
        tracking_failures=0 if shown is None else shown.failures,
    )


def _trainer(plan: LaunchPlan, boundary: StepBoundary) -> Trainer:
    """Return a Trainer that does the steps of this launch and nothing beside them."""
    settings, layout = plan.config.trainer, plan.layout
    return Trainer(
        accelerator="gpu" if layout.accelerator == "cuda" else "cpu",
        devices=layout.devices,
        num_nodes=layout.nodes,
        strategy=make_strategy(layout),
        plugins=[layout.environment],
        precision=_PRECISION[settings.precision],  # type: ignore[arg-type]  # a Literal there
        max_steps=plan.last_step - plan.first_step,
        accumulate_grad_batches=plan.accumulation,
        gradient_clip_val=settings.gradient_clip_norm,
        deterministic=settings.deterministic,
        default_root_dir=plan.run.path,
        callbacks=[boundary],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )


def _trackers(plan: LaunchPlan) -> list[ViewFactory]:
    tracking = plan.config.tracking
    chosen: list[ViewFactory] = []
    # W&B first: started after TensorBoard it would not see its own process's start-up.
    if tracking.wandb != "disabled":
        chosen.append(WandbView)
    if tracking.tensorboard:
        chosen.append(TensorBoardView)
    return chosen


@contextmanager
def _deterministic_restored() -> Iterator[None]:
    """Give torch back its setting for deterministic algorithms, which Lightning changes."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's remarks, and the warnings below, on which a user cannot act."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The `srun` command is available")
            # What torch 2.13 says of calls in Lightning 2.6.6 and DeepSpeed 0.19.8; 2026-11.
            warnings.filterwarnings("ignore", message=".isinstance.treespec, LeafSpec")
            warnings.filterwarnings("ignore", message=".torch.distributed.* is deprecated")
            # How to make one file of a ZeRO-3 checkpoint: model.safetensors is that file.
            warnings.filterwarnings("ignore", message="When saving the DeepSpeed Stage 3")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
