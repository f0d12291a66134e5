"""Sizes of global batches, and how ranks and micro-batches share one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.streaming.windows import WindowTable


def batch_sizes(
    table: WindowTable,
    *,
    batch_samples: int | None,
    batch_tokens: int | None,
    divisible_by: int,
    tokens_of_bucket: Sequence[int] | None,
) -> list[int]:
    """Return the global batch (windows) of each bucket.

    A batch given in tokens holds as many windows as fit, rounded down to `divisible_by`, and at
    least `divisible_by`.

    Raises:
        InputError: batch_samples is no multiple of divisible_by, or not exactly one is given.
    """
    if (batch_samples is None) == (batch_tokens is None):
        raise InputError(
            "data",
            found="both or neither of batch_samples and batch_tokens",
            expected="exactly one",
            do="Set one of them to null.",
        )
    if batch_samples is not None:
        if batch_samples % divisible_by:
            raise InputError(
                "data.batch_samples",
                found=str(batch_samples),
                expected=f"a multiple of data.divisible_by = {divisible_by}",
                do="Change one of the two.",
            )
        return [batch_samples] * len(table.buckets)
    assert batch_tokens is not None
    if tokens_of_bucket is None:
        raise InputError(
            "data.batch_tokens",
            found="a batch in tokens for a recipe that does not count them",
            expected="data.batch_samples",
            do="Give the batch in samples.",
        )
    fits = [batch_tokens // tokens // divisible_by * divisible_by for tokens in tokens_of_bucket]
    return [max(divisible_by, fit) for fit in fits]


@dataclass(frozen=True)
class Layout:
    """How ranks and micro-batches share a global batch."""

    rank: int
    world_size: int
    accumulation: int

    def share(self, windows: NDArray[np.int64], *, micro: int) -> NDArray[np.int64]:
        """Return the places (in the global batch) of this rank's micro-batch `micro`.

        Micro-batches are stretches of the batch, dealt to the ranks in turn: two ranks see the same
        micro-batches as one rank that accumulates twice as often.
        """
        size = len(windows) // (self.world_size * self.accumulation)
        first = (micro * self.world_size + self.rank) * size
        return np.arange(first, first + size, dtype=np.int64)


def make_layout(
    batches: Sequence[int], *, micro_batch: int | None, rank: int, world_size: int
) -> Layout:
    """Divide the global batches among ranks and micro-batches, or refuse.

    Raises:
        InputError: ranks x micro-batches do not divide every bucket's batch.
    """
    accumulation = 1
    if micro_batch is not None:
        accumulation = max(1, -(-max(batches) // (world_size * micro_batch)))
    for batch in sorted(set(batches)):
        if batch % (world_size * accumulation):
            raise InputError(
                "data.batch_samples / data.batch_tokens",
                found=f"a global batch of {batch} windows for {world_size} ranks x "
                f"{accumulation} micro-batches",
                expected="a batch that ranks x micro-batches divide",
                do="Change the batch, data.divisible_by, data.micro_batch or the number of ranks.",
            )
    return Layout(rank=rank, world_size=world_size, accumulation=accumulation)
