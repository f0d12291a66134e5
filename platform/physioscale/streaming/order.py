"""The order: which windows make up each global step, as a pure function of a plan.

A plan depends on (index, seed, epoch, batch, buckets, pool) and on nothing of ranks, threads or
time. Per epoch the shards are permuted and grouped into pools; each bucket's windows are mixed
inside a pool and follow pool by pool; consecutive stretches of a bucket are its batches, and the
batches of all buckets are taken pool by pool in a keyed order. So any step is found without those
before it, from a few arrays of the size of the shard and step counts.

What does not fill a last batch of a bucket is left out of the epoch; the permutation changes with
the epoch, and with it what is left out.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.streaming.permutation import permute
from physioscale.streaming.windows import WindowTable

# Part of every plan hash: a change of the order's rules must not resume an older order.
ORDER_VERSION = 1


@dataclass(frozen=True)
class StepWindows:
    """The global batch of one step."""

    epoch: int
    bucket: int
    windows: NDArray[np.int64]
    """(batch,) window numbers; ranks and micro-batches take stretches of it."""


class Plan:
    """The order of a stream's windows over all epochs."""

    def __init__(
        self,
        table: WindowTable,
        *,
        seed: int,
        batch_of_bucket: Sequence[int],
        pool_shards: int,
        identity: str,
    ) -> None:
        """Plan the batches.

        Args:
            table: the windows.
            seed: the run's seed.
            batch_of_bucket: global batch (windows) of each bucket.
            pool_shards: shards whose windows are mixed with each other.
            identity: names the shard sets and the selection, for the plan's hash.

        Raises:
            InputError: no bucket fills a single batch.
        """
        self.table = table
        self.seed = seed
        self.batch_of_bucket = tuple(batch_of_bucket)
        self.pool_shards = pool_shards
        counts = np.bincount(
            table.chunk_bucket, weights=table.chunk_num_windows, minlength=len(table.buckets)
        ).astype(np.int64)
        self.windows_of_bucket: tuple[int, ...] = tuple(int(count) for count in counts)
        self._batches: list[int] = [
            n // b for n, b in zip(self.windows_of_bucket, self.batch_of_bucket, strict=True)
        ]
        self.steps_per_epoch = sum(self._batches)
        if self.steps_per_epoch == 0:
            raise InputError(
                "data.batch_samples",
                found=f"a global batch of {min(self.batch_of_bucket, default=0)} windows, but "
                f"at most {int(counts.max(initial=0))} windows of one shape",
                expected="at least one full batch",
                do="Make the batch smaller (data.batch_samples or data.batch_tokens) or add data.",
            )
        self.hash = self._hash(identity)

    def step(self, step: int) -> StepWindows:
        """Return the global batch of global step `step` (from 0, over all epochs)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self.epoch(epoch)
        bucket, number = order.batch(place)
        return StepWindows(epoch=epoch, bucket=bucket, windows=order.windows(bucket, number))

    def epoch(self, epoch: int) -> "EpochOrder":
        """Return the order of one epoch (the two latest are kept)."""
        return _epoch_order(self, epoch)

    def left_out_per_epoch(self) -> int:
        """Return how many windows an epoch leaves out because they fill no batch."""
        used = zip(self._batches, self.batch_of_bucket, strict=True)
        return self.table.num_windows - sum(n * b for n, b in used)

    def state(self, step: int) -> dict[str, int | str]:
        """Return all that a resume needs: nothing of ranks or threads."""
        return {
            "plan_hash": self.hash,
            "seed": self.seed,
            "epoch": step // self.steps_per_epoch,
            "step": step,
        }

    def batches_of_bucket(self, bucket: int) -> int:
        """Return how many full batches a bucket gives per epoch."""
        return self._batches[bucket]

    def _hash(self, identity: str) -> str:
        facts = {
            "order": ORDER_VERSION,
            "identity": identity,
            "seed": self.seed,
            "batch": self.batch_of_bucket,
            "pool_shards": self.pool_shards,
            "buckets": [bucket.describe() for bucket in self.table.buckets],
            "windows": self.windows_of_bucket,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class EpochOrder:
    """One epoch of a plan. P pools, K chunks."""

    def __init__(self, plan: Plan, epoch: int) -> None:
        self._plan = plan
        self._epoch = epoch
        table = plan.table
        shards = self._permuted(np.arange(table.num_shards, dtype=np.int64), "shards")
        pool_of_shard = np.empty(table.num_shards, dtype=np.int64)
        pool_of_shard[shards] = np.arange(table.num_shards) // plan.pool_shards
        pool = pool_of_shard[table.chunk_shard]
        num_pools = -(-table.num_shards // plan.pool_shards)
        # Chunks in the order (bucket, pool), so that a pool's chunks of a bucket are a slice.
        group = table.chunk_bucket * num_pools + pool
        self._chunks = np.argsort(group, kind="stable")
        groups = len(table.buckets) * num_pools
        self._chunk_bounds = np.concatenate(([0], np.cumsum(np.bincount(group, minlength=groups))))
        windows = np.bincount(group, weights=table.chunk_num_windows, minlength=groups)
        per_pool = windows.astype(np.int64).reshape(len(table.buckets), num_pools)
        # Windows of a bucket before each pool, (buckets, P + 1).
        self._before = np.concatenate(
            [np.zeros((len(table.buckets), 1), dtype=np.int64), np.cumsum(per_pool, axis=1)], axis=1
        )
        self._num_pools = num_pools
        self._schedule = self._scheduled()
        self._pool_windows = lru_cache(maxsize=2 * len(table.buckets) + 2)(self._mix_pool)

    def batch(self, place: int) -> tuple[int, int]:
        """Return (bucket, number of the batch in the bucket) of the epoch's step `place`."""
        bucket, number = self._schedule[place]
        return int(bucket), int(number)

    def windows(self, bucket: int, number: int) -> NDArray[np.int64]:
        """Return the window numbers of a bucket's batch."""
        size = self._plan.batch_of_bucket[bucket]
        low, high = number * size, (number + 1) * size
        before = self._before[bucket]
        first = int(np.searchsorted(before, low, side="right")) - 1
        parts = []
        for pool in range(first, self._num_pools):
            start = int(before[pool])
            if start >= high:
                break
            mixed = self._pool_windows(bucket, pool)
            parts.append(mixed[max(low - start, 0) : high - start])
        return np.concatenate(parts)

    def _scheduled(self) -> NDArray[np.int64]:
        """Return (steps, 2): bucket and batch number, pool by pool in a keyed order."""
        rows = []
        for bucket, size in enumerate(self._plan.batch_of_bucket):
            count = self._plan.batches_of_bucket(bucket)
            number = np.arange(count, dtype=np.int64)
            last = (number + 1) * size - 1
            pool = np.searchsorted(self._before[bucket], last, side="right") - 1
            rows.append(np.stack([pool, np.full(count, bucket), number], axis=1))
        batches = np.concatenate(rows)
        mixed = self._permuted(np.arange(len(batches), dtype=np.int64), "steps")
        rank = np.empty(len(batches), dtype=np.int64)
        rank[mixed] = np.arange(len(batches))
        order = np.lexsort((rank, batches[:, 0]))
        schedule: NDArray[np.int64] = batches[order, 1:]
        return schedule

    def _mix_pool(self, bucket: int, pool: int) -> NDArray[np.int64]:
        group = bucket * self._num_pools + pool
        chunks = self._chunks[self._chunk_bounds[group] : self._chunk_bounds[group + 1]]
        first = self._plan.table.chunk_first_window[chunks]
        count = self._plan.table.chunk_num_windows[chunks]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return self._permuted((np.repeat(first, count) + within).astype(np.int64), "windows")

    def _permuted(self, values: NDArray[np.int64], what: str) -> NDArray[np.int64]:
        return permute(values, seed=self._plan.seed, purpose=f"{what}/{self._epoch}")


@lru_cache(maxsize=4)
def _epoch_order(plan: Plan, epoch: int) -> EpochOrder:
    return EpochOrder(plan, epoch)


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
