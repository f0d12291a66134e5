"""One launch of a run: what all its parts share, told to a person and written into the folder."""

from dataclasses import dataclass

from torch import nn

from physioscale.config import RunConfig
from physioscale.recipes.parts import RecipeParts
from physioscale.streaming import Stream
from physioscale.tracking import Launch
from physioscale.training.layout import RankLayout
from physioscale.training.loader import TrainLoader
from physioscale.training.run_folder import RunFolder, record_launch


@dataclass(frozen=True)
class LaunchPlan:
    """What all parts of a launch share."""

    config: RunConfig
    parts: RecipeParts
    run: RunFolder
    layout: RankLayout
    stream: Stream
    loader: TrainLoader
    accumulation: int
    """Micro-batches per rank and step."""
    first_step: int
    """Updates taken by earlier launches."""
    last_step: int
    """Updates after which this launch ends."""
    attempt: int = 0
    """Number of this launch, from 1; known to rank 0."""

    def for_views(self) -> Launch:
        """Return what a view may know."""
        return Launch(
            config=self.config,
            folder=self.run.path,
            attempt=self.attempt,
            first_step=self.first_step,
            last_step=self.last_step,
        )


def describe_launch(plan: LaunchPlan, model: nn.Module) -> list[str]:
    """Return lines that tell a person what is about to happen."""
    config, layout, stream = plan.config, plan.layout, plan.stream
    counts = _parameters(plan, model)
    lines = [
        f"recipe {config.recipe}, variant {config.variant}: {counts['total']:,} parameters, "
        f"{counts['encoder']:,} of them in the encoder",
        *stream.describe(),
        *stream.describe_plan(),
        f"{layout.world_size} x {layout.accelerator}, strategy {layout.strategy}, precision "
        f"{config.trainer.precision}, micro-batches per rank and step: {plan.accumulation}",
        f"steps {plan.first_step + 1} to {plan.last_step} of {config.trainer.max_steps}",
        f"run folder {plan.run.path}",
    ]
    if plan.first_step:
        lines.append(f"going on from its checkpoint after step {plan.first_step}")
    return lines


def record_plan(plan: LaunchPlan, model: nn.Module) -> int:
    """Write the launch into the run folder and return its number."""
    layout = plan.layout
    return record_launch(
        plan.run,
        plan.config,
        plan_hash=plan.stream.plan_hash,
        parameters=_parameters(plan, model),
        layout={
            "accelerator": layout.accelerator,
            "strategy": layout.strategy,
            "ranks": layout.world_size,
            "nodes": layout.nodes,
            "micro_batches": plan.accumulation,
        },
        first_step=plan.first_step,
    )


def _parameters(plan: LaunchPlan, model: nn.Module) -> dict[str, int]:
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"encoder": plan.parts.encoder_parameters(model), "total": total}
