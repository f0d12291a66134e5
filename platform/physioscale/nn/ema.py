"""A teacher whose weights are an exponential moving average of the student's.

In:  the student, and its float32 weights after every optimizer step.
Out: what the network returns, without gradient, in eval mode.

The teacher's weights are float32 buffers. As parameters DeepSpeed would cast them to bfloat16, and
there a teacher stands still: with a momentum of 0.9995 a step is smaller than half the distance to
the next bfloat16 number. For the same reason it is updated from the optimizer's float32 weights,
not from the student's bfloat16 copies: `physioscale.optim.float32_weights` yields them.

Source: Tarvainen and Valpola 2017, "Mean teachers are better role models", arXiv 1703.01780, eq. 3.
"""

import math
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.nn.frozen import parameters_as_buffers


class EmaTeacher(nn.Module):
    """A copy of `student` that follows it: teacher = m * teacher + (1 - m) * student.

    It starts with the student's weights. The student's own buffers (running statistics) are copied
    in each update, not averaged.

    Raises:
        InputError: if the student holds a recurrent layer of torch.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.network = parameters_as_buffers(student)
        self._names = _names_of_each(student)
        self.eval()

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network returns for these arguments, with the teacher's weights."""
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def update(
        self,
        student: nn.Module,
        *,
        momentum: float,
        weights: Iterable[tuple[str, Tensor]] | None = None,
    ) -> None:
        """Move the teacher one step towards the student; call it once after each optimizer step.

        Args:
            student: the network the teacher was made of.
            momentum: m, from 0 (copy the student) to 1 (stay).
            weights: the student's parameters by name, float32 and whole; its own if not given.

        Raises:
            InputError: a momentum out of range, weights that are not float32 (on either side), or
                other names than the teacher has.
        """
        if not 0 <= momentum <= 1:
            raise InputError(
                "EMA teacher", found=f"momentum {momentum}", expected="0 to 1", do="Mend it."
            )
        own = dict(self.network.named_buffers(remove_duplicate=False))
        seen = set()
        for name, weight in student.named_parameters() if weights is None else weights:
            # A tied weight is one buffer, or several after a move to another device.
            followers = {id(own[alias]): own[alias] for alias in self._names.get(name, ())}
            _check_weight(name, weight, followers.values())
            for follower in followers.values():
                follower.lerp_(weight.detach(), 1 - momentum)
            seen.add(name)
        if missing := sorted(self._names.keys() - seen):
            _refuse_names(f"no weights for {len(missing)} parameters, first '{missing[0]}'")
        for name, buffer in student.named_buffers():
            own[name].copy_(buffer)


def cosine_momentum(step: int, *, total_steps: int, base: float, final: float = 1.0) -> float:
    """Return a momentum that goes from `base` to `final` along half a cosine over the run.

    Source: Grill et al. 2020, "Bootstrap your own latent", arXiv 2006.07733, section 3.2, where
    `final` is 1.
    """
    _check_step(step, total_steps=total_steps)
    return final - (final - base) * (math.cos(math.pi * step / total_steps) + 1) / 2


def linear_momentum(step: int, *, ramp_steps: int, base: float, final: float) -> float:
    """Return a momentum that goes from `base` to `final` over `ramp_steps`, then stays.

    Source: Baevski et al. 2022, "data2vec", arXiv 2202.03555, section 3.1.
    """
    _check_step(0, total_steps=ramp_steps)
    return base + (final - base) * min(step / ramp_steps, 1.0)


def _names_of_each(student: nn.Module) -> dict[str, list[str]]:
    """Return, under a parameter's first name, all its names."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, param in student.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(param), name), []).append(name)
    return names


def _check_weight(name: str, weight: Tensor, followers: Iterable[Tensor]) -> None:
    tensors = [weight, *followers]
    if len(tensors) == 1:
        _refuse_names(f"weights '{name}'")
    odd = next((tensor.dtype for tensor in tensors if tensor.dtype != torch.float32), None)
    if odd is not None:
        raise InputError(
            f"EMA teacher: {name}",
            found=f"{odd}",
            expected="float32: in fewer bits the steps of a teacher are lost",
            do="Give the optimizer's weights (physioscale.optim.float32_weights), and never cast "
            "the teacher.",
        )
    if any(tensor.shape != weight.shape for tensor in tensors):
        _refuse_names(f"'{name}' of shape {tuple(weight.shape)}")


def _refuse_names(found: str) -> None:
    raise InputError(
        "EMA teacher",
        found=found,
        expected="the parameters of the network the teacher was made of",
        do="Give the same student, with whole weights.",
    )


def _check_step(step: int, *, total_steps: int) -> None:
    if total_steps < 1 or not 0 <= step <= total_steps:
        raise InputError(
            "EMA momentum",
            found=f"step {step} of {total_steps}",
            expected="a step between 0 and the run's total steps",
            do="Give the schedule the run's full length.",
        )
