"""StableAdamW against its formula and against AdamW; schedules at their corners."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.optim import StableAdamW, cyclic_trapezoid, trapezoid

BETAS = (0.92, 0.999)
LR, EPS, WEIGHT_DECAY = 1e-2, 1e-9, 0.01


class NaiveStableAdamW:
    """Algorithm 2 of Wortsman et al. 2023 for one tensor, in float64, one line per equation."""

    def __init__(self, value: Tensor) -> None:
        self.value = value.double()
        self.m = torch.zeros_like(self.value)
        self.u = torch.zeros_like(self.value)
        self.t = 0
        self.rms = 0.0

    def step(self, gradient: Tensor) -> None:
        g = gradient.double()
        self.t += 1
        b1, b2 = (b * (1 - b ** (self.t - 1)) / (1 - b**self.t) for b in BETAS)
        self.m = b1 * self.m + (1 - b1) * g
        self.u = b2 * self.u + (1 - b2) * g**2
        self.rms = float((g**2 / self.u.clamp(min=EPS**2)).mean().sqrt())
        lr = LR / max(1.0, self.rms)
        decayed = self.value - lr * WEIGHT_DECAY * self.value
        self.value = decayed - lr * self.m / (self.u.sqrt() + EPS)


def stable_adamw(params: list[nn.Parameter]) -> StableAdamW:
    return StableAdamW(params, lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)


def random_parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def test_stable_adamw_equals_the_published_formula_with_spikes() -> None:
    params = random_parameters((4, 3), (5,), ())
    naive = [NaiveStableAdamW(param.detach()) for param in params]
    optimizer = stable_adamw(params)
    generator = torch.Generator().manual_seed(1)
    largest_rms = 0.0
    for step in range(30):
        for param, reference in zip(params, naive, strict=True):
            spike = 40.0 if step % 7 == 6 else 1.0
            param.grad = spike * torch.randn(param.shape, generator=generator)
            reference.step(param.grad)
            largest_rms = max(largest_rms, reference.rms)
        optimizer.step()
    assert largest_rms > 2  # or nothing was clipped
    for param, reference in zip(params, naive, strict=True):
        # 30 steps of at most 1e-2 each, rounded to float32 (6e-8 relative) a few times per step.
        torch.testing.assert_close(param.detach().double(), reference.value, rtol=1e-5, atol=1e-6)


def test_stable_adamw_without_clipping_equals_adamw() -> None:
    ours, theirs = random_parameters((8, 3), (6,)), random_parameters((8, 3), (6,))
    stable = stable_adamw(ours)
    adamw = torch.optim.AdamW(theirs, lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(2)
    signs = [torch.randn(param.shape, generator=generator) for param in ours]
    for step in range(25):
        # Gradients that shrink keep the second moment above their square: rms <= 1.
        for mine, other, sign in zip(ours, theirs, signs, strict=True):
            mine.grad = sign * 0.9**step
            other.grad = mine.grad.clone()
        stable.step()
        adamw.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_a_spike_in_one_tensor_does_not_shrink_the_step_of_another() -> None:
    calm, spiky = random_parameters((6,), (6,))
    alone = random_parameters((6,))[0]
    together, single = stable_adamw([calm, spiky]), stable_adamw([alone])
    for step in range(5):
        calm.grad, alone.grad = torch.ones(6), torch.ones(6)
        spiky.grad = torch.full((6,), 1000.0 if step == 4 else 1.0)
        together.step()
        single.step()
    assert torch.equal(calm, alone)


def test_a_parameter_without_gradient_stays_and_counts_its_own_steps() -> None:
    params = random_parameters((3,), (3,))
    late = NaiveStableAdamW(params[1].detach())
    before = params[1].detach().clone()
    optimizer = stable_adamw(params)
    params[0].grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(params[1], before)
    assert params[1] not in optimizer.state
    params[1].grad = torch.tensor([1.0, -2.0, 0.0])
    late.step(params[1].grad)
    optimizer.step()
    torch.testing.assert_close(params[1].detach().double(), late.value, rtol=1e-6, atol=1e-7)
    assert [int(optimizer.state[param]["step"]) for param in params] == [2, 1]


def test_a_loaded_state_continues_bit_for_bit() -> None:
    def train(params: list[nn.Parameter], optimizer: StableAdamW, steps: range) -> None:
        for step in steps:
            for param in params:
                param.grad = torch.sin(param.detach() + step)
            optimizer.step()

    unbroken = random_parameters((4, 4), (2,))
    whole = stable_adamw(unbroken)
    train(unbroken, whole, range(10))

    first = random_parameters((4, 4), (2,))
    stopped = stable_adamw(first)
    train(first, stopped, range(4))
    second = [nn.Parameter(param.detach().clone()) for param in first]
    resumed = StableAdamW(second, lr=1.0)
    resumed.load_state_dict(stopped.state_dict())
    train(second, resumed, range(4, 10))
    assert all(torch.equal(a, b) for a, b in zip(unbroken, second, strict=True))
    assert all(state["exp_avg"].dtype == torch.float32 for state in resumed.state.values())


def test_a_step_reads_no_value_back_from_the_device() -> None:
    # Meta tensors have no values: whatever would wait for a GPU fails on them.
    params = [nn.Parameter(torch.empty(shape, device="meta")) for shape in ((4, 4), (3,))]
    optimizer = stable_adamw(params)
    for _ in range(2):
        for param in params:
            param.grad = torch.empty_like(param)
        optimizer.step()
    assert [int(optimizer.state[param]["step"]) for param in params] == [2, 2]


def test_a_closure_is_evaluated_with_gradients() -> None:
    param = nn.Parameter(torch.tensor([3.0]))
    optimizer = StableAdamW([param], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = param.square().sum()
        torch.autograd.backward(loss)
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(9.0)
    assert param.item() < 3.0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lr": -1e-3}, "StableAdamW: lr: -0.001"),
        ({"lr": math.nan}, "StableAdamW: lr: nan"),
        ({"eps": 0.0}, "StableAdamW: eps: 0.0"),
        ({"weight_decay": -1.0}, "StableAdamW: weight_decay"),
        ({"betas": (0.9, 1.0)}, r"StableAdamW: betas: \(0.9, 1.0\)"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StableAdamW(random_parameters((2,)), **{"lr": 1e-3, **setting})


def test_parameters_of_low_precision_are_refused() -> None:
    with pytest.raises(InputError, match=r"1 parameter\(s\) of torch.bfloat16"):
        StableAdamW([nn.Parameter(torch.ones(2, dtype=torch.bfloat16))], lr=1e-3)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-5),
        (50, (1e-5 + 1e-3) / 2),
        (100, 1e-3),
        (500, 1e-3),
        (900, 1e-3),
        (950, (1e-3 + 1e-6) / 2),
        (1000, 1e-6),
    ],
)
def test_trapezoid_at_its_corners(step: int, expected: float) -> None:
    assert trapezoid(step, total_steps=1000, peak_lr=1e-3) == pytest.approx(expected, rel=1e-12)


def test_trapezoid_never_jumps_and_never_leaves_its_bounds() -> None:
    rates = [trapezoid(step, total_steps=200, peak_lr=1e-3) for step in range(201)]
    assert min(rates) == pytest.approx(1e-6)
    assert max(rates) == 1e-3
    # A ramp of 20 steps from about 0 to 1e-3 rises by at most 5e-5 a step.
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 5.1e-5


@pytest.mark.parametrize("total_steps", [1, 2, 3, 5])
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_trapezoid_of_few_steps_stays_finite(total_steps: int, shares: tuple[float, float]) -> None:
    for step in range(total_steps + 1):
        rate = trapezoid(
            step,
            total_steps=total_steps,
            peak_lr=1e-3,
            warmup_share=shares[0],
            cooldown_share=shares[1],
        )
        assert 1e-6 <= rate <= 1e-3


def test_trapezoid_outside_the_run_is_refused() -> None:
    with pytest.raises(InputError, match="step 11 of 10"):
        trapezoid(11, total_steps=10, peak_lr=1e-3)
    with pytest.raises(InputError, match="step -1 of 10"):
        trapezoid(-1, total_steps=10, peak_lr=1e-3)
    with pytest.raises(InputError, match="together at most 1"):
        trapezoid(0, total_steps=10, peak_lr=1e-3, warmup_share=0.6, cooldown_share=0.6)


def test_cyclic_trapezoid_restarts_from_the_final_rate() -> None:
    rates = [cyclic_trapezoid(step, cycle_steps=100, peak_lr=1e-3) for step in (0, 100, 200)]
    assert rates == pytest.approx([1e-5, 1e-6, 1e-6])
    assert cyclic_trapezoid(150, cycle_steps=100, peak_lr=1e-3) == 1e-3
