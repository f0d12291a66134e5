"""A few steps of a small network, in one process or under DeepSpeed's ZeRO, to be compared.

The sizes are odd and the groups two, so that parameters cross the cuts between ranks and every flat
tensor has padding; every fifth gradient is a spike, so that StableAdamW clips.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from physioscale.nn import EmaTeacher
from physioscale.optim import StableAdamW, float32_weights, set_partitions

NUM_STEPS = 12
BATCH = 8
_SPIKE_EVERY = 5
_SPIKE = 50.0


def build_network() -> nn.Module:
    """Return the network, with the same weights in every call."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3), nn.PReLU(1))
    with torch.no_grad():
        for param in network.parameters():
            param.copy_(torch.randn(param.shape, generator=generator))
    return network


def build_optimizer(network: nn.Module) -> StableAdamW:
    """Return the optimizer, with a group of matrices and one of all other parameters."""
    params = list(network.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [param for param in params if param.ndim > 1]},
        {"params": [param for param in params if param.ndim < 2], "weight_decay": 0.0},
    ]
    return StableAdamW(groups, lr=1e-2, betas=(0.92, 0.999), eps=1e-9, weight_decay=0.1)


def batch_loss(network: nn.Module, *, step: int, rows: slice) -> Tensor:
    """Return the mean loss of some rows of a step's global batch."""
    generator = torch.Generator().manual_seed(step)
    inputs, targets = (torch.randn(BATCH, width, generator=generator)[rows] for width in (7, 3))
    inputs = inputs.to(next(network.parameters()).dtype)
    loss: Tensor = (network(inputs) - targets).square().mean()
    return loss * (_SPIKE if step % _SPIKE_EVERY == _SPIKE_EVERY - 1 else 1.0)


def train_whole() -> dict[str, Tensor]:
    """Return the weights after training in this process, each parameter as one tensor."""
    network = build_network()
    optimizer = build_optimizer(network)
    for step in range(NUM_STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(batch_loss(network, step=step, rows=slice(None)))
        optimizer.step()
    return {name: param.detach() for name, param in network.named_parameters()}


def train_under_zero(cases: list[tuple[int, bool, bool]]) -> dict[str, Tensor]:
    """Train once per case on this rank's share; return the weights as `<case>/<parameter>`.

    Args:
        cases: (stage, bfloat16 network, whether the optimizer is told of its partition).
    """
    weights: dict[str, Tensor] = {}
    for index, (stage, bfloat16, told) in enumerate(cases):
        trained = _train_one(stage=stage, bfloat16=bfloat16, told=told)
        weights |= {f"{index}/{name}": tensor for name, tensor in trained.items()}
    return weights


class Taught(nn.Module):
    """The network and a teacher of it, as a recipe holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.student = build_network()
        self.teacher = EmaTeacher(self.student)

    def forward(self, x: Tensor) -> Tensor:
        """Return the student's output."""
        output: Tensor = self.student(x)
        return output


def teach_under_zero(stage: int, *, num_steps: int, momentum: float) -> dict[str, Tensor]:
    """Train a bfloat16 network with a teacher.

    Returns:
        Under `teacher/<parameter>` the teacher's weights, under `expected/<parameter>` the same by
        the closed form in float64, under `start/<parameter>` those at the beginning.
    """
    network = Taught()
    start = {name: param.detach().clone() for name, param in network.student.named_parameters()}
    expected = {name: momentum**num_steps * weight.double() for name, weight in start.items()}
    engine, told = _initialise(network, build_optimizer(network), stage=stage, bfloat16=True)
    told()
    for step in range(num_steps):
        _step(engine, step=step)
        weights = dict(float32_weights(network.student))
        network.teacher.update(network.student, momentum=momentum, weights=weights.items())
        share = (1 - momentum) * momentum ** (num_steps - 1 - step)
        for name, weight in weights.items():
            expected[name] += share * weight.double()
    engine.destroy()
    named = {"teacher": dict(network.teacher.network.named_buffers()), "expected": expected}
    return {
        f"{kind}/{name}": tensor
        for kind, tensors in (named | {"start": start}).items()
        for name, tensor in tensors.items()
    }


def zero_and_teacher(
    cases: list[tuple[int, bool, bool]], *, num_steps: int, momentum: float
) -> dict[str, Tensor]:
    """Do both in one launch: a launch spends most of its time on imports."""
    return train_under_zero(cases) | teach_under_zero(2, num_steps=num_steps, momentum=momentum)


def _train_one(*, stage: int, bfloat16: bool, told: bool) -> dict[str, Tensor]:
    network = build_network()
    engine, tell = _initialise(network, build_optimizer(network), stage=stage, bfloat16=bfloat16)
    if told:
        tell()
    for step in range(NUM_STEPS):
        _step(engine, step=step)
    weights = {name: tensor.clone() for name, tensor in float32_weights(network)}
    engine.destroy()
    return weights


def _step(engine: Any, *, step: int) -> None:
    rank, share = torch.distributed.get_rank(), BATCH // torch.distributed.get_world_size()
    rows = slice(rank * share, (rank + 1) * share)
    engine.backward(batch_loss(engine, step=step, rows=rows))
    engine.step()


def _initialise(
    network: nn.Module, optimizer: StableAdamW, *, stage: int, bfloat16: bool
) -> tuple[Any, Callable[[], None]]:
    """Return DeepSpeed's engine, and what tells the optimizer of its partition."""
    import deepspeed

    # Where a compiler is found DeepSpeed would build this op, which training does not use.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    groups = [list(group["params"]) for group in optimizer.param_groups]
    engine, zero_optimizer, _, _ = deepspeed.initialize(
        model=network,
        optimizer=optimizer,
        dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": 1,
            "bf16": {"enabled": bfloat16},
            # Its default is 1.
            "gradient_clipping": 0.0,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {
                "stage": stage,
                "reduce_bucket_size": 1000,
                "allgather_bucket_size": 1000,
            },
        },
    )
    return engine, lambda: set_partitions(optimizer, zero_optimizer=zero_optimizer, groups=groups)
