"""Teachers against their closed form, in float32 whatever the student's precision; frozen parts."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.nn import EmaTeacher, Frozen, cosine_momentum, linear_momentum

STEPS = 200


def make_student() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3)
        )


def weights_of(teacher: EmaTeacher) -> dict[str, Tensor]:
    return dict(teacher.network.named_buffers())


@pytest.mark.parametrize("autocast", [False, True])
def test_200_steps_equal_the_closed_form(autocast: bool) -> None:
    student = make_student()
    teacher = EmaTeacher(student)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    started = {name: param.detach().double() for name, param in student.named_parameters()}
    history: list[dict[str, Tensor]] = []
    for _ in range(STEPS):
        x = torch.randn(16, 6, generator=generator)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = (student(x) - teacher(x)).square().mean() + student(x).abs().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        teacher.update(student, momentum=0.9995)
        history.append({name: p.detach().double() for name, p in student.named_parameters()})
    own = weights_of(teacher)
    for name, first in started.items():
        # t_n = m^n t_0 + (1 - m) sum over k of m^(n - k) s_k
        expected = 0.9995**STEPS * first
        for k, weights in enumerate(history, start=1):
            expected = expected + (1 - 0.9995) * 0.9995 ** (STEPS - k) * weights[name]
        assert own[name].dtype == torch.float32
        torch.testing.assert_close(own[name].double(), expected, rtol=1e-5, atol=1e-5)
        assert (expected - first).abs().max() > 1e-3  # or it had hardly moved


def test_a_teacher_of_bfloat16_copies_follows_the_float32_weights() -> None:
    student = make_student()
    master = {name: param.detach().clone() for name, param in student.named_parameters()}
    teacher = EmaTeacher(student)
    student.bfloat16()
    start = {name: tensor.double() for name, tensor in master.items()}
    for tensor in master.values():
        tensor += 1e-3
    for _ in range(STEPS):
        teacher.update(student, momentum=0.9995, weights=master.items())
    for name, tensor in weights_of(teacher).items():
        if name in master:
            expected = start[name] + (1 - 0.9995**STEPS) * 1e-3
            torch.testing.assert_close(tensor.double(), expected, rtol=0, atol=1e-5)
            # A bfloat16 teacher would not have moved: this is its rounding at a weight of 0.1.
            moved = (tensor.double() - start[name]).mean()
            assert float(moved) == pytest.approx(9.5e-5, rel=0.05)
    with pytest.raises(InputError, match=r"0\.weight: torch\.bfloat16; expected float32"):
        teacher.update(student, momentum=0.9995)


def test_a_teacher_has_no_parameters_no_gradient_and_no_dropout() -> None:
    student = make_student()
    teacher = EmaTeacher(student)
    both = nn.ModuleDict({"student": student, "teacher": teacher})
    both.train()
    both.requires_grad_(True)
    assert student.training
    assert not any(module.training for module in teacher.modules())
    assert list(teacher.parameters()) == []
    x = torch.randn(4, 6, requires_grad=True)
    output = teacher(x)
    assert not output.requires_grad
    student.eval()
    assert torch.equal(output, student(x))


def test_running_statistics_are_copied() -> None:
    student = make_student()
    teacher = EmaTeacher(student)
    student(torch.randn(16, 6) + 3)
    teacher.update(student, momentum=1.0)
    own = weights_of(teacher)
    for name, buffer in student.named_buffers():
        assert torch.equal(own[name], buffer)
    for name, param in make_student().named_parameters():
        assert torch.equal(own[name], param)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.second(self.first(x))
        return output


@pytest.mark.parametrize(
    "move", [lambda teacher: teacher, lambda teacher: teacher.double().float()]
)
def test_tied_weights_take_one_step_and_stay_tied(
    move: Callable[[EmaTeacher], EmaTeacher],
) -> None:
    student = Tied()
    start = student.first.weight.detach().clone()
    teacher = move(EmaTeacher(student))
    with torch.no_grad():
        student.first.weight += 1.0
    teacher.update(student, momentum=0.5)
    tied = dict(teacher.network.named_buffers(remove_duplicate=False))
    for name in ("first.weight", "second.weight"):
        torch.testing.assert_close(tied[name], start + 0.5)


def test_a_parametrised_layer_follows() -> None:
    student = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 3))
    teacher = EmaTeacher(student)
    with torch.no_grad():
        for param in student.parameters():
            param += 0.1
    teacher.update(student, momentum=0.0)
    x = torch.randn(1, 2, 8)
    torch.testing.assert_close(teacher(x), student(x))


def test_a_state_is_saved_and_loaded() -> None:
    teacher = EmaTeacher(make_student())
    other = make_student()
    with torch.no_grad():
        next(iter(other.parameters())).zero_()
    loaded = EmaTeacher(other)
    loaded.load_state_dict(teacher.state_dict())
    for name, tensor in weights_of(loaded).items():
        assert torch.equal(tensor, weights_of(teacher)[name])


def test_updates_that_do_not_fit_are_refused() -> None:
    student = make_student()
    teacher = EmaTeacher(student)
    with pytest.raises(InputError, match=r"momentum 1\.5; expected 0 to 1"):
        teacher.update(student, momentum=1.5)
    first = next(iter(student.named_parameters()))
    with pytest.raises(InputError, match=r"no weights for 5 parameters, first '0\.bias'"):
        teacher.update(student, momentum=0.9, weights=[first])
    with pytest.raises(InputError, match="EMA teacher: weights 'other'"):
        teacher.update(student, momentum=0.9, weights=[("other", torch.zeros(1))])
    with pytest.raises(InputError, match=r"'0\.weight' of shape \(0,\)"):
        teacher.update(student, momentum=0.9, weights=[("0.weight", torch.zeros(0))])
    with pytest.raises(InputError, match=r"0\.weight: torch\.bfloat16"):
        EmaTeacher(student).bfloat16().update(student, momentum=0.9)
    with pytest.raises(InputError, match="a layer LSTM"):
        EmaTeacher(nn.LSTM(2, 2))


def test_momentum_schedules_at_their_corners() -> None:
    cosine = [cosine_momentum(step, total_steps=100, base=0.996) for step in (0, 50, 100)]
    assert cosine == pytest.approx([0.996, 0.998, 1.0], abs=1e-12)
    linear = [
        linear_momentum(step, ramp_steps=10, base=0.9, final=0.999) for step in (0, 5, 10, 99)
    ]
    assert linear == pytest.approx([0.9, 0.9495, 0.999, 0.999], abs=1e-12)
    with pytest.raises(InputError, match="EMA momentum: step 101 of 100"):
        cosine_momentum(101, total_steps=100, base=0.996)
    with pytest.raises(InputError, match="EMA momentum: step 0 of 0"):
        linear_momentum(3, ramp_steps=0, base=0.9, final=0.999)


def test_a_frozen_part_stays_frozen_and_in_eval_mode() -> None:
    network = make_student()
    frozen = Frozen(network)
    model = nn.Sequential(frozen, nn.Linear(3, 1)).train().requires_grad_(True)
    assert model.training
    assert not any(module.training for module in frozen.modules())
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    assert before.keys() == {f"network.{name}" for name in network.state_dict()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    x = torch.randn(8, 6, requires_grad=True)
    torch.autograd.backward(model(x).square().mean())
    optimizer.step()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    for name, tensor in frozen.state_dict().items():
        assert torch.equal(tensor, before[name])
    network.eval()
    assert torch.equal(frozen(x), network(x))


def test_a_teacher_is_built_without_memory() -> None:
    with torch.device("meta"):
        teacher = EmaTeacher(nn.Linear(3, 2))
    assert {tensor.device.type for tensor in teacher.state_dict().values()} == {"meta"}


def test_the_package_needs_torch_alone() -> None:
    blocked = ("lightning", "deepspeed", "webdataset", "mne")
    code = f"import sys; sys.modules |= dict.fromkeys({blocked}); import physioscale.nn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
