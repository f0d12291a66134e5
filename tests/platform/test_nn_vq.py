"""Codebooks against the paper's formulas, and bit for bit between ranks."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from physioscale.errors import InputError
from physioscale.nn import ResidualQuantiser, VectorQuantiser
from physioscale.random import Draws
from physioscale.testing.quantise import build_quantiser, learn_codebooks, step_inputs
from physioscale.testing.ranks import run_on_ranks

DECAY = 0.9


def make_quantiser(codebook: Tensor, **settings: Any) -> VectorQuantiser:
    """Return a quantiser that holds these codes."""
    num_codes, dim = codebook.shape
    quantiser = VectorQuantiser(num_codes=num_codes, dim=dim, decay=DECAY, **settings)
    quantiser.codebook.copy_(codebook)
    quantiser.sums.copy_(codebook)
    return quantiser


def draws_of(samples: int, *, step: int = 0) -> Draws:
    return Draws(0, step=step, sample_index=torch.arange(samples))


def test_equation_1_the_nearest_code_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    codebook, x = (torch.randn(shape, generator=generator) for shape in ((9, 3), (4, 6, 3)))
    quantised = make_quantiser(codebook)(x)
    distances = (x[..., None, :] - codebook).square().sum(-1)
    assert torch.equal(quantised.codes, distances.argmin(-1))
    torch.testing.assert_close(quantised.values, codebook[quantised.codes])
    nearest = distances.amin(-1).sum() / x.numel()
    torch.testing.assert_close(quantised.commitment, nearest)


def test_the_gradient_of_the_codes_is_the_gradient_of_the_input() -> None:
    x = torch.randn(5, 2, requires_grad=True)
    factor = torch.randn(5, 2)
    values = make_quantiser(torch.randn(4, 2))(x).values
    torch.autograd.backward((values * factor).sum())
    assert x.grad is not None
    assert torch.equal(x.grad, factor)


def test_the_commitment_pulls_the_input_to_its_code() -> None:
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    torch.autograd.backward(make_quantiser(torch.tensor([[0.0, 1.0]]))(x).commitment)
    # d/dx of the mean of (x - e)^2 over two numbers.
    assert x.grad is not None
    assert torch.equal(x.grad, torch.tensor([[1.0, 1.0]]))


def test_appendix_a1_moving_averages_have_their_closed_form() -> None:
    codebook = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 99.0]])
    quantiser = make_quantiser(codebook)
    # Two vectors stay nearest to code 0, one to code 1, none to code 2.
    x = torch.tensor([[[1.0, 1.0], [2.0, -1.0]], [[9.0, 1.0], [1.5, 0.0]]])
    used = torch.tensor([3.0, 1.0, 0.0])
    summed = torch.tensor([[4.5, 0.0], [9.0, 1.0], [0.0, 0.0]])
    for step in range(200):
        quantiser.observe(quantiser(x), draws=draws_of(2, step=step))
        quantiser.update()
        left = DECAY ** (step + 1)
        counts = left + (1 - left) * used.double()
        sums = left * codebook.double() + (1 - left) * summed.double()
        torch.testing.assert_close(quantiser.counts.double(), counts, rtol=1e-5, atol=1e-7)
        expected = sums / counts[:, None]
        torch.testing.assert_close(quantiser.codebook.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_code_without_use_stays_where_it_is_for_ever() -> None:
    codebook = torch.tensor([[0.0, 0.0], [50.0, -70.0]])
    quantiser = make_quantiser(codebook)
    for step in range(2000):
        quantiser.observe(quantiser(torch.zeros(1, 1, 2)), draws=draws_of(1, step=step))
        quantiser.update()
    assert quantiser.counts[1] < 1e-30
    torch.testing.assert_close(quantiser.codebook, codebook, rtol=1e-4, atol=0.0)


def test_micro_batches_count_as_one_batch() -> None:
    whole, parts = learn_codebooks(8), learn_codebooks(3)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-5)


def test_a_dead_code_becomes_an_input_of_the_step() -> None:
    quantiser = make_quantiser(torch.tensor([[0.0, 0.0], [99.0, 99.0]]), dead_below=0.95)
    x = torch.randn(4, 3, 2)
    quantiser.observe(quantiser(x), draws=draws_of(4))
    quantiser.update()
    assert (quantiser.codebook[1] == x).all(-1).sum() == 1
    # 12 vectors on one code, none on the other: averages of 2.1 and 0.9.
    assert quantiser.counts.tolist() == pytest.approx([2.1, 1.5])
    torch.testing.assert_close(quantiser.sums[1], 1.5 * quantiser.codebook[1])


def test_more_dead_codes_than_inputs_leaves_the_others() -> None:
    codebook = torch.arange(10.0).reshape(5, 2) + 50
    quantiser = make_quantiser(codebook, dead_below=1.05)
    quantiser.observe(quantiser(torch.zeros(1, 2, 2)), draws=draws_of(1))
    quantiser.update()
    zeros = (quantiser.codebook == 0).all(-1)
    # Code 0 was used; of the four dead ones two got the two inputs.
    assert zeros.tolist() == [False, True, True, False, False]
    torch.testing.assert_close(quantiser.codebook[3:], codebook[3:])


def test_every_input_has_the_same_chance_to_become_a_code() -> None:
    x = torch.arange(8.0).reshape(8, 1, 1)
    taken = torch.zeros(8)
    for step in range(400):
        quantiser = make_quantiser(torch.tensor([[3.0], [-999.0]]), dead_below=0.95)
        quantiser.observe(quantiser(x), draws=draws_of(8, step=step))
        quantiser.update()
        taken[int(quantiser.codebook[1])] += 1
    # 50 expected of each, standard deviation 6.6; the draws are keyed, so this cannot flicker.
    assert taken.min() > 25
    assert taken.max() < 75


def test_two_ranks_hold_the_same_codebooks_to_the_bit(tmp_path: Path) -> None:
    one, other = run_on_ranks(learn_codebooks, 2, num_ranks=2, folder=tmp_path)
    alone = learn_codebooks(8)
    assert one.keys() == other.keys() == alone.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name])
        torch.testing.assert_close(tensor, alone[name], rtol=1e-5, atol=1e-5)
    # Codes far from all inputs were replaced, or this would have shown nothing.
    start = build_quantiser().levels[0]
    assert isinstance(start, VectorQuantiser)
    codebook = alone["levels.0.codebook"]
    unused = ~torch.isin(torch.arange(len(codebook)), start(step_inputs(0)).codes)
    assert unused.sum() >= 4
    moved = (codebook - start.codebook)[unused].norm(dim=-1)
    assert (moved > 1).sum() >= 4


def test_algorithm_1_each_level_quantises_the_residual() -> None:
    quantiser = ResidualQuantiser(num_levels=3, num_codes=8, dim=4)
    x = torch.randn(6, 4)
    quantised = quantiser(x)
    residual = x
    for index, level in enumerate(quantiser.levels):
        assert isinstance(level, VectorQuantiser)
        codes = (residual[:, None] - level.codebook).square().sum(-1).argmin(-1)
        assert torch.equal(quantised.codes[:, index], codes)
        residual = residual - level.codebook[codes]
    torch.testing.assert_close(quantised.values, x - residual)
    torch.testing.assert_close(quantiser.decode(quantised.codes), x - residual)
    first = quantiser(x, num_levels=1)
    assert torch.equal(first.codes, quantised.codes[:, :1])
    torch.testing.assert_close(quantiser.decode(first.codes), first.values)


def test_more_levels_leave_less_after_learning() -> None:
    quantiser = build_quantiser()
    for step in range(20):
        quantiser.observe(quantiser(step_inputs(step)), draws=draws_of(8, step=step))
        quantiser.update()
    x = step_inputs(99)
    errors = [float((x - quantiser(x, num_levels=n).values).square().mean()) for n in (1, 2)]
    errors.insert(0, float(x.square().mean()))
    assert all(after < before / 2 for before, after in itertools.pairwise(errors))


def test_the_gradient_of_residual_codes_is_the_gradient_of_the_input() -> None:
    x = torch.randn(5, 4, requires_grad=True)
    factor = torch.randn(5, 4)
    quantised = ResidualQuantiser(num_levels=2, num_codes=8, dim=4)(x)
    torch.autograd.backward((quantised.values * factor).sum())
    assert x.grad is not None
    assert torch.equal(x.grad, factor)


def test_levels_that_were_left_out_keep_their_codes() -> None:
    quantiser = ResidualQuantiser(num_levels=2, num_codes=8, dim=4, dead_below=0.999)
    second = quantiser.levels[1]
    assert isinstance(second, VectorQuantiser)
    before = second.codebook.clone()
    quantiser.observe(quantiser(torch.randn(3, 2, 4), num_levels=1), draws=draws_of(3))
    quantiser.update()
    torch.testing.assert_close(second.codebook, before)


def test_codebooks_stay_float32_under_bf16_autocast() -> None:
    quantiser = build_quantiser()
    x = step_inputs(0)
    expected = quantiser(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = quantiser(x)
        low = quantiser(x.bfloat16())
    assert torch.equal(inside.codes, expected.codes)
    assert low.values.dtype == torch.bfloat16
    quantiser.observe(low, draws=draws_of(8))
    quantiser.update()
    assert {tensor.dtype for tensor in quantiser.state_dict().values()} == {torch.float32}
    assert list(quantiser.parameters()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_codes": 0}, "num_codes 0"),
        ({"decay": 1.0}, "decay 1.0"),
        ({"dead_below": -1.0}, "dead_below -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"vector quantiser: .*{message}"):
        VectorQuantiser(**{"num_codes": 4, "dim": 2, **settings})


def test_levels_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="num_levels: 0; expected at least 1"):
        ResidualQuantiser(num_levels=0, num_codes=4, dim=2)
    quantiser = ResidualQuantiser(num_levels=2, num_codes=4, dim=2)
    with pytest.raises(InputError, match="num_levels of forward: 3; expected 1 to 2"):
        quantiser(torch.zeros(1, 2), num_levels=3)
    with pytest.raises(InputError, match="levels of codes: 3; expected 1 to 2"):
        quantiser.decode(torch.zeros(1, 3, dtype=torch.int64))


def test_a_quantiser_is_built_without_memory() -> None:
    with torch.device("meta"):
        quantiser = ResidualQuantiser(num_levels=2, num_codes=4, dim=2)
    assert {tensor.device.type for tensor in quantiser.state_dict().values()} == {"meta"}
    assert quantiser(torch.empty(3, 2, device="meta")).codes.shape == (3, 2)
