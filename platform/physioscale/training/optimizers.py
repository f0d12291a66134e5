"""Optimizers by name, and the learning rate as a function of the global step.

In:  parameters and the sections `optimizer` and `schedule` of a run.
Out: a torch optimizer; a rate for every step. The rate is computed, never advanced: nothing of it
     is saved, and a resumed run has the rates of an unbroken one.
"""

from collections.abc import Callable, Iterable

from torch import Tensor
from torch.optim import AdamW, Optimizer

from physioscale.config import OptimizerConfig, ScheduleConfig
from physioscale.errors import InputError, suggest
from physioscale.optim import StableAdamW, trapezoid


def _adamw(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    beta1, beta2 = config.betas
    return AdamW(
        parameters,
        lr=config.lr,
        betas=(beta1, beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


def _stable_adamw(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    beta1, beta2 = config.betas
    return StableAdamW(
        parameters,
        lr=config.lr,
        betas=(beta1, beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


OPTIMIZERS: dict[str, Callable[[Iterable[Tensor], OptimizerConfig], Optimizer]] = {
    "adamw": _adamw,
    "stable_adamw": _stable_adamw,
}
"""The optimizers that `optimizer.name` may name. Under ZeRO a new one is refused until
`physioscale.optim.check_under_zero` knows it."""


def build_optimizer(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    """Return the optimizer that the configuration names.

    Raises:
        InputError: an unknown name, or settings that the optimizer refuses.
    """
    if config.name not in OPTIMIZERS:
        raise InputError(
            "optimizer.name",
            found=f"unknown optimizer '{config.name}'{suggest(config.name, OPTIMIZERS)}",
            expected=f"one of {', '.join(sorted(OPTIMIZERS))}",
            do="Correct the name.",
        )
    return OPTIMIZERS[config.name](parameters, config)


def learning_rate(
    step: int, *, peak_lr: float, schedule: ScheduleConfig, total_steps: int
) -> float:
    """Return the rate of the update that follows `step` updates already taken.

    Args:
        step: from 0 to total_steps - 1.
        peak_lr: `optimizer.lr`.
        schedule: its name and ramps; `constant` has no ramps.
        total_steps: updates of the whole run, over all launches.
    """
    if schedule.name == "constant":
        return peak_lr
    return trapezoid(
        step,
        total_steps=total_steps,
        peak_lr=peak_lr,
        start_lr=schedule.start_lr,
        final_lr=schedule.final_lr,
        warmup_share=schedule.warmup_share,
        cooldown_share=schedule.cooldown_share,
    )
