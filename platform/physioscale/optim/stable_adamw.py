"""StableAdamW: AdamW whose step shrinks where the second moment lags behind the gradient.

For each tensor, with m and u the bias-corrected moments of the gradient g after t steps:

    rms   = sqrt(mean(g^2 / max(u, eps^2)))
    theta = theta - lr / max(1, rms) * (m / (sqrt(u) + eps) + weight_decay * theta)

As long as rms <= 1 it is AdamW. A gradient far above what u expects makes rms large; AdamW would
then take too long a step, as u follows at its own pace.

The rms belongs to a whole parameter tensor. ZeRO (stages 1 to 3) hands an optimizer flat tensors
that mix parameters and depend on the number of ranks: `set_partition` tells it what lies where, and
the rms is then summed over the ranks, with one all-reduce of a number per parameter and step.
Whoever sets up ZeRO must call it (`physioscale.optim.zero` does).
Source: Wortsman et al. 2023, "Stable and low-loss mixed-precision training for large-scale
vision-language models", arXiv 2304.13013, algorithm 2 (lr, betas and eps as named there).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from physioscale.errors import InputError
from physioscale.optim.partition import FlatPartition, PartitionedTensor

Group = dict[str, Any]


class StableAdamW(Optimizer):
    """AdamW with the update clipped per tensor by the RMS of gradient over second moment.

    Parameters and moments are float32. The state of a parameter is `step`, a float32 scalar on the
    CPU, and `exp_avg` and `exp_avg_sq`, the bias-corrected moments. A step never waits for the GPU
    and needs two temporary copies of the parameters.

    Args:
        params: parameters or parameter groups, as torch's optimizers take them.
        lr: learning rate, before clipping.
        betas: decay of the first and of the second moment.
        eps: added to the root of the second moment, and the floor of that root in the rms.
        weight_decay: decoupled decay, multiplied by the clipped learning rate.

    Raises:
        InputError: if a setting is out of range, or a parameter is not float32.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )
        self._partitioned: dict[Tensor, PartitionedTensor] = {}

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with their own settings; torch's constructor comes through here, too."""
        super().add_param_group(param_group)
        _check_group(self.param_groups[-1])

    def set_partition(self, flat: Tensor, partition: FlatPartition) -> None:
        """Treat `flat` as the tensors it was cut from; every rank of the partition then steps.

        Padding keeps its values. A tensor that was never given a partition is one parameter.
        A parameter without gradient is not told from one whose gradient is zero.

        Raises:
            InputError: if the partition does not fit the tensor.
        """
        self._partitioned[flat] = PartitionedTensor(flat, partition)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it, we do not
        """Take one step; `closure` evaluates the loss again, with gradients, and returns it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for step, params in self._by_step(group).items():
                whole = [param for param in params if param not in self._partitioned]
                if whole:
                    slices = _Slices.of(whole, [self.state[param] for param in whole])
                    _update(slices, _rms_of_each(slices.grads), group=group, step=step)
                for flat in params:
                    if (cut := self._partitioned.get(flat)) is not None:
                        slices = _Slices.of([flat], [self.state[flat]]).cut(cut)
                        _update(slices, cut.root_mean_squares, group=group, step=step)
        return loss

    def _by_step(self, group: Group) -> dict[int, list[Tensor]]:
        """Count the step of every parameter with a gradient, and gather those of equal count."""
        gathered = defaultdict(list)
        for param in group["params"]:
            if param.grad is None:
                continue
            state = self.state[param]
            if not state:
                # A CPU tensor: torch's own checkpoint code expects one, and reading it is no sync.
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(param)
                state["exp_avg_sq"] = torch.zeros_like(param)
            state["step"] += 1
            gathered[int(state["step"])].append(param)
        return gathered


@dataclass(frozen=True)
class _Slices:
    """Lists of equal length: parameters, or pieces of them, with gradients and moments."""

    params: list[Tensor]
    grads: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]

    @classmethod
    def of(cls, params: list[Tensor], states: list[dict[str, Tensor]]) -> "_Slices":
        return cls(
            params=params,
            grads=[param.grad for param in params if param.grad is not None],
            first=[state["exp_avg"] for state in states],
            second=[state["exp_avg_sq"] for state in states],
        )

    def cut(self, tensor: PartitionedTensor) -> "_Slices":
        """Return the pieces of the one flat tensor in these lists."""
        return _Slices(
            params=tensor.views(self.params[0]),
            grads=tensor.views(self.grads[0]),
            first=tensor.views(self.first[0]),
            second=tensor.views(self.second[0]),
        )


_RootMeanSquares = Callable[[list[Tensor]], list[Tensor]]


def _rms_of_each(grads: list[Tensor]) -> _RootMeanSquares:
    def from_norms(norms: list[Tensor]) -> list[Tensor]:
        return [norm / math.sqrt(grad.numel()) for norm, grad in zip(norms, grads, strict=True)]

    return from_norms


def _update(
    slices: _Slices, root_mean_squares: _RootMeanSquares, *, group: Group, step: int
) -> None:
    params, grads = slices.params, slices.grads
    if not params:
        # Nothing but padding lies here, but the other ranks wait for this one.
        root_mean_squares([])
        return
    # Debiased betas keep the stored moments equal to AdamW's bias-corrected ones.
    beta1, beta2 = (_debiased(beta, step=step) for beta in group["betas"])
    torch._foreach_lerp_(slices.first, grads, weight=1 - beta1)
    torch._foreach_mul_(slices.second, beta2)
    torch._foreach_addcmul_(slices.second, grads, grads, value=1 - beta2)

    root = torch._foreach_sqrt(slices.second)
    rms = root_mean_squares(_norms_of_ratio(grads, root, eps=group["eps"]))
    torch._foreach_add_(root, group["eps"])
    updates = torch._foreach_div(slices.first, root)
    if group["weight_decay"]:
        torch._foreach_add_(updates, params, alpha=group["weight_decay"])
    torch._foreach_mul_(updates, [group["lr"] / value.clamp(min=1) for value in rms])
    torch._foreach_sub_(params, updates)


def _norms_of_ratio(
    grads: list[Tensor], root: list[Tensor] | tuple[Tensor, ...], *, eps: float
) -> list[Tensor]:
    """Return the norm of gradient over second moment for each slice, scalars on its device."""
    # max(u, eps^2) = max(sqrt(u), eps)^2, so the root of the update serves here, too; unlike eps^2,
    # which is 1e-18 for REVE, it stays well inside float32.
    ratio = torch._foreach_clamp_min(root, eps)
    torch._foreach_reciprocal_(ratio)
    torch._foreach_mul_(ratio, grads)
    return list(torch._foreach_norm(ratio))


def _debiased(beta: float, *, step: int) -> float:
    return beta * (1 - beta ** (step - 1)) / (1 - beta**step)


def _check_group(group: Group) -> None:
    for name in ("lr", "weight_decay"):
        if not 0 <= group[name] < math.inf:
            _refuse(name, found=f"{group[name]}", expected="a finite number, not negative")
    # Without a floor a weight that never had a gradient would divide zero by zero.
    if not 0 < group["eps"] < math.inf:
        _refuse("eps", found=f"{group['eps']}", expected="a finite number above 0")
    if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
        _refuse("betas", found=f"{group['betas']}", expected="two numbers in [0, 1)")
    odd = [param for param in group["params"] if param.dtype != torch.float32]
    if odd:
        raise InputError(
            "StableAdamW",
            found=f"{len(odd)} parameter(s) of {odd[0].dtype}",
            expected="float32 parameters",
            do="Train with bf16-mixed precision, which keeps float32 parameters; never bf16-true.",
        )


def _refuse(name: str, *, found: str, expected: str) -> None:
    raise InputError(f"StableAdamW: {name}", found=found, expected=expected, do="Mend the setting.")
