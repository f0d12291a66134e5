"""StableAdamW under real ZeRO takes the steps of the per-tensor rule, on one rank and on two.

In the same launches a teacher follows the float32 weights of a bfloat16 network.
"""

import pytest
import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.optim import (
    FlatPartition,
    Piece,
    StableAdamW,
    check_under_zero,
    float32_weights,
)
from physioscale.testing.ranks import run_on_ranks
from physioscale.testing.zero import batch_loss, build_network, train_whole, zero_and_teacher

# (stage, bfloat16, told of the partition)
STAGES = [(1, False, True), (2, False, True), (3, False, True)]
UNTOLD = (2, False, False)
BFLOAT16 = (2, True, True)
BFLOAT16_3 = (3, True, True)


def of_kind(weights: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the weights of one kind or case under the parameters' own names."""
    prefix = f"{kind}/"
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def largest_difference(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert weights.keys() == expected.keys()
    return max((weights[name] - expected[name]).abs().max().item() for name in expected)


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Tensor]]:
    """What each rank has after training."""
    return run_on_ranks(
        zero_and_teacher,
        [*STAGES, UNTOLD, BFLOAT16, BFLOAT16_3],
        num_ranks=request.param,
        folder=tmp_path_factory.mktemp("zero"),
        num_steps=200,
        momentum=0.9995,
    )


def test_zero_1_2_and_3_equal_the_rule_per_tensor(ranks: list[dict[str, Tensor]]) -> None:
    expected = train_whole()
    moved = largest_difference(dict(build_network().named_parameters()), expected)
    assert moved > 0.05
    for weights in ranks:
        for case in range(len(STAGES)):
            # 12 steps of at most 1e-2, rounded to float32 (6e-8 relative) a few times per step.
            assert largest_difference(of_kind(weights, f"{case}"), expected) < 2e-6
        # An optimizer that takes the flat tensor for one parameter goes elsewhere.
        assert largest_difference(of_kind(weights, "3"), expected) > 1e-3


def test_float32_weights_are_the_optimizers_own(ranks: list[dict[str, Tensor]]) -> None:
    for weights in ranks:
        for case in ("4", "5"):
            check_float32_weights(of_kind(weights, case), train_whole())


def test_a_teacher_in_a_bfloat16_network_follows_200_steps(ranks: list[dict[str, Tensor]]) -> None:
    for weights in ranks:
        teacher, start = of_kind(weights, "teacher"), of_kind(weights, "start")
        assert {tensor.dtype for tensor in teacher.values()} == {torch.float32}
        assert largest_difference(teacher, of_kind(weights, "expected")) < 1e-5
        assert largest_difference(teacher, start) > 1e-3
        assert largest_difference(teacher, of_kind(ranks[0], "teacher")) == 0


def check_float32_weights(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Under bf16 the optimizer's float32 weights come back, not the network's own copies."""
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    for tensor in weights.values():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, tensor.bfloat16().float())


def test_without_zero_the_float32_weights_are_the_parameters() -> None:
    network = build_network()
    weights = dict(float32_weights(network))
    for name, param in network.named_parameters():
        assert weights[name].data_ptr() == param.data_ptr()


def test_pieces_of_a_flat_tensor_are_the_tensors_they_were_cut_from() -> None:
    whole = build_network()
    separate = list(whole.parameters())
    flat = nn.Parameter(torch.cat([param.detach().flatten() for param in separate] + [PADDING]))
    pieces, start = [], 0
    for index, param in enumerate(separate):
        pieces.append(Piece(tensor=index, start=start, numel=param.numel()))
        start += param.numel()
    ours, theirs = (StableAdamW(params, lr=1e-2) for params in ([flat], separate))
    numels = tuple(param.numel() for param in separate)
    ours.set_partition(flat, FlatPartition(numels=numels, pieces=tuple(pieces)))
    for step in range(8):
        theirs.zero_grad()
        torch.autograd.backward(batch_loss(whole, step=step, rows=slice(None)))
        grads = [param.grad.flatten() for param in separate if param.grad is not None]
        # Whatever stands in the padding's gradient is nobody's.
        flat.grad = torch.cat([*grads, torch.tensor([float("nan"), 1e9])])
        ours.step()
        theirs.step()
    for piece, param in zip(pieces, separate, strict=True):
        cut = flat.detach().narrow(0, piece.start, piece.numel)
        torch.testing.assert_close(cut, param.detach().flatten(), rtol=1e-6, atol=1e-7)
    assert torch.equal(flat.detach()[-2:], PADDING)


PADDING = torch.tensor([3.0, -3.0])


@pytest.mark.parametrize(
    "pieces",
    [
        (Piece(tensor=0, start=0, numel=3), Piece(tensor=1, start=2, numel=2)),
        (Piece(tensor=0, start=0, numel=3), Piece(tensor=1, start=3, numel=4)),
        (Piece(tensor=0, start=0, numel=3), Piece(tensor=2, start=3, numel=1)),
        (Piece(tensor=0, start=0, numel=4),),
    ],
    ids=["overlap", "beyond the end", "of no tensor", "larger than its tensor"],
)
def test_a_partition_that_does_not_fit_is_refused(pieces: tuple[Piece, ...]) -> None:
    flat = nn.Parameter(torch.zeros(6))
    optimizer = StableAdamW([flat], lr=1e-2)
    with pytest.raises(InputError, match=r"pieces of 2 tensors over a tensor of shape \(6,\)"):
        optimizer.set_partition(flat, FlatPartition(numels=(3, 3), pieces=pieces))


def test_zero_refuses_other_optimizers_by_name() -> None:
    params = [nn.Parameter(torch.zeros(3, 3))]
    check_under_zero(StableAdamW(params, lr=1e-2))
    check_under_zero(torch.optim.AdamW(params))
    with pytest.raises(InputError, match="ZeRO with the optimizer Adafactor"):
        check_under_zero(torch.optim.Adafactor(params))

    class Changed(torch.optim.AdamW):
        pass

    with pytest.raises(InputError, match="ZeRO with the optimizer Changed"):
        check_under_zero(Changed(params))
