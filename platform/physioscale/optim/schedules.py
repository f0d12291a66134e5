"""Learning rates as pure functions of the step.

In:  the number of optimizer steps already taken.
Out: the learning rate of the next step. Nothing is advanced, so nothing has to be saved.
"""

from physioscale.errors import InputError


def trapezoid(
    step: int,
    *,
    total_steps: int,
    peak_lr: float,
    start_lr: float = 1e-5,
    final_lr: float = 1e-6,
    warmup_share: float = 0.1,
    cooldown_share: float = 0.1,
) -> float:
    """Return the rate of a linear warm-up, a plateau and a linear cool-down over one run.

    `start_lr` belongs to step 0, `peak_lr` to all steps from the end of the warm-up to the start of
    the cool-down, `final_lr` to step `total_steps`, when the last step has been taken. The lengths
    of both ramps are rounded to whole steps.

    Args:
        step: steps already taken, 0 .. total_steps.
        total_steps: steps of the whole run.
        peak_lr: rate of the plateau.
        start_lr: rate at step 0, where there is a warm-up.
        final_lr: rate at the end, where there is a cool-down.
        warmup_share: share of the steps that warm up.
        cooldown_share: share of the steps that cool down.

    Raises:
        InputError: if the step lies outside the run, or the shares do not fit into it.
    """
    _check(step, total_steps, warmup_share=warmup_share, cooldown_share=cooldown_share)
    warmup_steps = round(warmup_share * total_steps)
    # Rounded towards the plateau's end, so that two shares of one half leave no negative plateau.
    cooldown_steps = min(round(cooldown_share * total_steps), total_steps - warmup_steps)
    steps_left = total_steps - step
    if step < warmup_steps:
        return start_lr + (peak_lr - start_lr) * step / warmup_steps
    if steps_left < cooldown_steps:
        return final_lr + (peak_lr - final_lr) * steps_left / cooldown_steps
    return peak_lr


def cyclic_trapezoid(
    step: int,
    *,
    cycle_steps: int,
    peak_lr: float,
    start_lr: float = 1e-5,
    final_lr: float = 1e-6,
    warmup_share: float = 0.1,
    cooldown_share: float = 0.1,
) -> float:
    """Return the rate of a trapezoid that repeats every `cycle_steps`, for runs of any length.

    Only the first cycle starts from `start_lr`; every later one rises again from `final_lr`.
    """
    cycle, position = divmod(step, cycle_steps)
    return trapezoid(
        position,
        total_steps=cycle_steps,
        peak_lr=peak_lr,
        start_lr=start_lr if cycle == 0 else final_lr,
        final_lr=final_lr,
        warmup_share=warmup_share,
        cooldown_share=cooldown_share,
    )


def _check(step: int, total_steps: int, *, warmup_share: float, cooldown_share: float) -> None:
    if total_steps < 1 or not 0 <= step <= total_steps:
        raise InputError(
            "learning rate schedule",
            found=f"step {step} of {total_steps}",
            expected="a step between 0 and the run's total steps",
            do="Give the schedule the run's full length before training starts.",
        )
    if min(warmup_share, cooldown_share) < 0 or warmup_share + cooldown_share > 1:
        raise InputError(
            "learning rate schedule",
            found=f"warmup_share {warmup_share:g}, cooldown_share {cooldown_share:g}",
            expected="shares of the run, not negative and together at most 1",
            do="A share is a fraction: one tenth is 0.1.",
        )
