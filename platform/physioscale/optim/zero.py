"""Optimizers under DeepSpeed's ZeRO: which may run there, and what they must be told.

ZeRO (stages 1 to 3) hands the optimizer flat tensors. One that treats every number alike does not
notice; one with statistics of a parameter tensor would go wrong without a word, so only those on
the list below are let in, and those that need it are told what lies where in their flat tensors.

What is read of DeepSpeed was read in 0.19.8: `_hp_mapping` and `_dp_group` of a parameter (stages 1
and 2); `fp16_groups`, `fp32_partitioned_groups_flat`, `partition_numel` and `ds_process_group`
(stage 3).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from physioscale.errors import InputError
from physioscale.optim.partition import FlatPartition, Piece
from physioscale.optim.stable_adamw import StableAdamW

ELEMENTWISE = (AdamW, Adam)
"""Treat every number alike, so that flat tensors give the same steps."""


@runtime_checkable
class PartitionAware(Protocol):
    """An optimizer with statistics of parameter tensors that can be told of flat ones."""

    def set_partition(self, flat: Tensor, partition: FlatPartition) -> None:
        """Treat `flat` as the tensors it was cut from."""
        ...


def check_under_zero(optimizer: Optimizer) -> None:
    """Refuse an optimizer that was not shown to take the same steps under ZeRO.

    Raises:
        InputError: names the optimizer's class.
    """
    allowed = (*ELEMENTWISE, StableAdamW)
    # A subclass may add what its parent does not have.
    if type(optimizer) in allowed:
        return
    raise InputError(
        "trainer.strategy",
        found=f"ZeRO with the optimizer {type(optimizer).__name__}",
        expected=f"one of {', '.join(kind.__name__ for kind in allowed)}: ZeRO hands an optimizer "
        "flat tensors, and statistics of parameter tensors would depend on the number of ranks",
        do="Set trainer.strategy=ddp, or take another optimizer.",
    )


def set_partitions(
    optimizer: Optimizer, *, zero_optimizer: Any, groups: Sequence[Sequence[nn.Parameter]]
) -> None:
    """Tell a partition-aware optimizer what lies where; nothing to do for any other.

    Call it on every rank after DeepSpeed's initialisation and before the first step.

    Args:
        optimizer: the one given to DeepSpeed.
        zero_optimizer: DeepSpeed's optimizer around it.
        groups: the parameters of the optimizer's groups, as they were before the initialisation.
    """
    if not isinstance(optimizer, PartitionAware):
        return
    if hasattr(zero_optimizer, "fp32_partitioned_groups_flat"):
        for flat, partition in _stage_3(zero_optimizer):
            optimizer.set_partition(flat, partition)
        return
    # DeepSpeed drops groups without parameters.
    filled = [[param for param in group if param.requires_grad] for group in groups if group]
    for ours, params in zip(optimizer.param_groups, filled, strict=True):
        (flat,) = ours["params"]
        optimizer.set_partition(flat, _stage_1_or_2(params))


def float32_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter's name and its whole float32 weights, from the optimizer under ZeRO.

    Under bf16 DeepSpeed's network holds bfloat16 copies, in which small steps are lost. Every rank
    must take all of them: where weights are divided or copies, each costs a collective. Call it
    between steps. Without ZeRO these are the parameters themselves.
    """
    for name, param in module.named_parameters():
        yield name, _float32(param)


def _float32(param: Any) -> Tensor:
    divided = hasattr(param, "ds_id")
    copied = hasattr(param, "_hp_mapping") and param.dtype != torch.float32
    whole: Tensor
    if not divided and not copied:
        whole = param.detach().float()
        return whole
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_get_full_fp32_param

    if param.requires_grad:
        whole = safe_get_full_fp32_param(param).detach()
        return whole
    with GatheredParameters([param]):
        whole = param.detach().float().clone()
    return whole


def _stage_1_or_2(params: Sequence[Any]) -> FlatPartition:
    pieces = []
    for index, param in enumerate(params):
        mapping = param._hp_mapping
        if mapping is not None:
            address = mapping.get_hp_fragment_address()
            pieces.append(Piece(tensor=index, start=address.start, numel=address.numel))
    return FlatPartition(
        numels=tuple(param.numel() for param in params),
        pieces=tuple(sorted(pieces, key=lambda piece: piece.start)),
        process_group=params[0]._dp_group,
    )


def _stage_3(zero_optimizer: Any) -> Iterator[tuple[Tensor, FlatPartition]]:
    """Yield the flat tensors; in each, a parameter's share is rounded up and padded at its end."""
    flats = zero_optimizer.fp32_partitioned_groups_flat
    for params, flat in zip(zero_optimizer.fp16_groups, flats, strict=True):
        group = params[0].ds_process_group
        rank = torch.distributed.get_rank(group)
        pieces, start = [], 0
        for index, param in enumerate(params):
            share = param.partition_numel()
            numel = min(share, param.ds_numel - rank * share)
            if numel > 0:
                pieces.append(Piece(tensor=index, start=start, numel=numel))
            start += share
        numels = tuple(param.ds_numel for param in params)
        yield flat, FlatPartition(numels=numels, pieces=tuple(pieces), process_group=group)
