"""How one flat tensor of an optimizer maps to the parameter tensors it was cut from.

ZeRO concatenates the parameters of a group, cuts the row into a part per rank and gives each rank's
optimizer its part as one 1-D tensor; parameters cross the cuts, and padding fills the last part.
Statistics of a parameter tensor are then sums over its pieces, which lie on several ranks.

In:  the norm of each local piece, a list of scalars.
Out: the root mean square of each whole tensor, (P,) float32, the same on all ranks.

Letters: P parameter tensors of the flat tensor, over all ranks.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physioscale.errors import InputError


@dataclass(frozen=True)
class Piece:
    """The numbers of one parameter tensor that lie in this rank's flat tensor, in one run."""

    tensor: int
    """Which tensor: its place among the P."""
    start: int
    """Where the run starts in the flat tensor."""
    numel: int


@dataclass(frozen=True)
class FlatPartition:
    """This rank's view of a group of parameter tensors that were flattened and divided.

    What no piece covers is padding.
    """

    numels: tuple[int, ...]
    """Sizes of the P whole tensors; the same on every rank."""
    pieces: tuple[Piece, ...]
    """What lies on this rank, in the order of `start`."""
    process_group: Any = None
    """The ranks that hold all pieces together; None where this process holds them all."""


class PartitionedTensor:
    """A flat tensor with its partition, and what a step needs of both on the tensor's device.

    Raises:
        InputError: if pieces overlap, leave the flat tensor, or belong to no tensor.
    """

    def __init__(self, flat: Tensor, partition: FlatPartition) -> None:
        _check(flat, partition)
        self.partition = partition
        # Kept on the device: copying numbers to a GPU in every step would wait for it.
        self._numels = torch.tensor(partition.numels, dtype=torch.float32, device=flat.device)
        owners = [piece.tensor for piece in partition.pieces]
        self._owners = torch.tensor(owners, dtype=torch.int64, device=flat.device)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the pieces of a tensor that is laid out like the flat one, sharing its memory."""
        return [flat.narrow(0, piece.start, piece.numel) for piece in self.partition.pieces]

    def root_mean_squares(self, norms: Sequence[Tensor]) -> list[Tensor]:
        """Return, for each local piece, the root mean square of the whole tensor it belongs to.

        Every rank of the process group must call this, also one that holds nothing but padding.
        """
        squares = torch.zeros_like(self._numels)
        if norms:
            squares.index_add_(0, self._owners, torch.stack(list(norms)).square())
        if self.partition.process_group is not None:
            torch.distributed.all_reduce(squares, group=self.partition.process_group)
        return list((squares / self._numels).sqrt()[self._owners].unbind())


def _check(flat: Tensor, partition: FlatPartition) -> None:
    pieces = partition.pieces
    ends = [piece.start + piece.numel for piece in pieces]
    starts = [piece.start for piece in pieces]
    inside = all(0 <= piece.tensor < len(partition.numels) for piece in pieces)
    apart = all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    fits = all(start >= 0 for start in starts) and all(end <= flat.numel() for end in ends)
    whole = all(
        sum(piece.numel for piece in group) <= partition.numels[tensor]
        for tensor, group in itertools.groupby(
            sorted(pieces, key=lambda piece: piece.tensor), key=lambda piece: piece.tensor
        )
        if inside
    )
    if flat.ndim != 1 or not (inside and apart and fits and whole):
        raise InputError(
            "optimizer partition",
            found=f"{len(pieces)} pieces of {len(partition.numels)} tensors over a tensor of shape "
            f"{tuple(flat.shape)}, which they leave, or in which they overlap",
            expected="pieces in order, each inside the flat tensor and part of one tensor",
            do="Read the partition after ZeRO was set up, from the same engine.",
        )
