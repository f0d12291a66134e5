"""The order: which windows make up each global step, as a pure function of a plan.

A plan depends on (index, seed, weights, batch, buckets, pool) and on nothing of ranks, threads or
time. Each bucket (windows of one shape) has an endless stream, and its batches are consecutive
stretches of it. An epoch adds to that stream, from each shard set, its windows times the set's
weight, taken from where the epoch before left off in the set's passes; they are mixed in pools,
each of which holds an even share of every set. So with weight 1 an epoch is one pass over a set,
with 0.25 four epochs are, and with 2.5 each window comes two or three times; nothing is left out
for good, and a stop needs to remember one number.

A batch belongs to the epoch in which its last window lies; the batches of an epoch are taken pool
by pool in a keyed order of all buckets.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError
from physioscale.streaming.passes import Source
from physioscale.streaming.permutation import permute
from physioscale.streaming.windows import WindowTable

# Part of every plan hash: a change of the order's rules must not resume an older order.
ORDER_VERSION = 2

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class StepWindows:
    """The global batch of one step."""

    epoch: int
    bucket: int
    windows: IntArray
    """(batch,) window numbers; ranks and micro-batches take stretches of it."""


@dataclass(frozen=True)
class Share:
    """What an epoch takes from one shard set."""

    available: int
    """Windows of the set."""
    taken: int
    """Windows that the epoch takes, repeated ones counted each time."""
    unseen: int
    """Windows of the set that the epoch does not take."""
    repeated: int
    """How many of those taken were taken before in the same epoch."""


@dataclass(frozen=True)
class _Part:
    """One shard set's part in a bucket."""

    shard_set: int
    source: Source
    per_epoch: int


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
        weights: Sequence[float] | None = None,
    ) -> None:
        """Plan the batches.

        Args:
            table: the windows.
            seed: the run's seed.
            batch_of_bucket: global batch (windows) of each bucket.
            pool_shards: shards whose windows are mixed with each other.
            identity: names the shard sets and the selection, for the plan's hash.
            weights: per shard set, how often an epoch takes each window; None: once.

        Raises:
            InputError: weights that do not fit the shard sets, or no bucket fills a batch.
        """
        self.table = table
        self.seed = seed
        self.batch_of_bucket = tuple(batch_of_bucket)
        self.pool_shards = pool_shards
        self.weights = _checked_weights(weights, num_sets=table.num_sets)
        self._parts = [self._parts_of(bucket) for bucket in range(len(table.buckets))]
        self.epoch_windows: tuple[int, ...] = tuple(
            sum(part.per_epoch for part in parts) for parts in self._parts
        )
        """Windows that an epoch adds to each bucket's stream."""
        self.num_pools = max(1, -(-table.num_shards // pool_shards))
        fits = zip(self.epoch_windows, self.batch_of_bucket, strict=True)
        if not any(count >= batch for count, batch in fits):
            raise self._too_few()
        self.hash = self._hash(identity)

    def step(self, step: int) -> StepWindows:
        """Return the global batch of global step `step` (from 0, over all epochs)."""
        epoch = self.epoch_of(step)
        bucket, number = self.epoch(epoch).batch(step - self.first_step(epoch))
        return StepWindows(epoch=epoch, bucket=bucket, windows=self._batch(bucket, number))

    def epoch(self, epoch: int) -> "EpochOrder":
        """Return the order of one epoch (the latest few are kept)."""
        return _epoch_order(self, epoch)

    def first_step(self, epoch: int) -> int:
        """Return the first global step of an epoch."""
        return sum(
            epoch * count // batch
            for count, batch in zip(self.epoch_windows, self.batch_of_bucket, strict=True)
        )

    def epoch_of(self, step: int) -> int:
        """Return the epoch that a global step belongs to."""
        per_epoch = sum(
            count / batch
            for count, batch in zip(self.epoch_windows, self.batch_of_bucket, strict=True)
        )
        epoch = int(step / per_epoch)
        while self.first_step(epoch + 1) <= step:
            epoch += 1
        while self.first_step(epoch) > step:
            epoch -= 1
        return epoch

    def state(self, step: int) -> dict[str, int | str]:
        """Return all that a resume needs: nothing of ranks or threads."""
        return {
            "plan_hash": self.hash,
            "seed": self.seed,
            "epoch": self.epoch_of(step),
            "step": step,
        }

    def shares(self, epoch: int) -> list[Share]:
        """Return what an epoch takes from each shard set, counted window by window.

        It reads through the epoch's windows: 1 to 2 s for 10 million.
        """
        shares = []
        for number in range(self.table.num_sets):
            parts = [p for parts in self._parts for p in parts if p.shard_set == number]
            taken = [
                p.source.windows(epoch * p.per_epoch, (epoch + 1) * p.per_epoch) for p in parts
            ]
            total = sum(len(windows) for windows in taken)
            distinct = sum(len(np.unique(windows)) for windows in taken)
            available = sum(part.source.num_windows for part in parts)
            shares.append(
                Share(available, total, unseen=available - distinct, repeated=total - distinct)
            )
        return shares

    def pool_bounds(self, bucket: int) -> IntArray:
        """Return (P + 1,): windows that an epoch adds to a bucket, counted before each pool."""
        pools = np.arange(self.num_pools + 1, dtype=np.int64)
        per_part = [pools * part.per_epoch // self.num_pools for part in self._parts[bucket]]
        bounds: IntArray = np.sum(per_part, axis=0)
        return bounds

    def pool_windows(self, bucket: int, *, epoch: int, pool: int) -> IntArray:
        """Return a pool's windows of a bucket, mixed."""
        taken = []
        for part in self._parts[bucket]:
            begin = epoch * part.per_epoch
            low, high = (
                begin + place * part.per_epoch // self.num_pools for place in (pool, pool + 1)
            )
            taken.append(part.source.windows(low, high))
        windows = np.concatenate(taken)
        key = f"bucket {bucket}/epoch {epoch}/pool {pool}"
        # Positions are permuted, not windows: with a weight above 1 a window may occur twice.
        order = permute(
            np.arange(len(windows), dtype=np.int64), seed=self.seed, purpose=f"mix/{key}"
        )
        mixed: IntArray = windows[order]
        return mixed

    def describe(self) -> list[str]:
        """Return lines about the order for a person."""
        first, second = self.first_step(1), self.first_step(2)
        steps = f"{first}" if second == 2 * first else f"{first} or {second - first}"
        lines = [f"plan {self.hash[:12]}: {steps} steps per epoch"]
        for bucket, count, batch in zip(
            self.table.buckets, self.epoch_windows, self.batch_of_bucket, strict=True
        ):
            every = f", one in {batch / count:.1f} epochs" if count < batch else ""
            lines.append(f"  global batch {batch} windows of {bucket.describe()}{every}")
        if any(weight != 1 for weight in self.weights):
            lines += [f"  shard set {n}: weight {w:g}" for n, w in enumerate(self.weights)]
        return lines

    def _batch(self, bucket: int, number: int) -> IntArray:
        """Return a bucket's batch: a stretch of its stream, which may cross pools and epochs."""
        size, per_epoch = self.batch_of_bucket[bucket], self.epoch_windows[bucket]
        low, high = number * size, (number + 1) * size
        bounds = self.pool_bounds(bucket)
        parts = []
        while low < high:
            epoch, inside = divmod(low, per_epoch)
            pool = int(np.searchsorted(bounds, inside, side="right")) - 1
            mixed = _mixed_pool(self, bucket, epoch, pool)
            start = inside - int(bounds[pool])
            parts.append(mixed[start : start + high - low])
            low += len(parts[-1])
        return np.concatenate(parts)

    def _parts_of(self, bucket: int) -> list[_Part]:
        parts = []
        for shard_set in range(self.table.num_sets):
            chunks = np.flatnonzero(
                (self.table.chunk_bucket == bucket) & (self.table.chunk_set == shard_set)
            )
            count = int(self.table.chunk_num_windows[chunks].sum())
            per_epoch = round(count * self.weights[shard_set])
            if per_epoch:
                name = f"set {shard_set}/bucket {bucket}"
                source = Source(self.table, chunks, seed=self.seed, name=name)
                parts.append(_Part(shard_set, source, per_epoch))
        return parts

    def _too_few(self) -> InputError:
        return InputError(
            "data.batch_samples",
            found=f"a global batch of {min(self.batch_of_bucket, default=0)} windows, but an epoch "
            f"has at most {max(self.epoch_windows, default=0)} windows of one shape",
            expected="at least one full batch",
            do="Make the batch smaller (data.batch_samples or data.batch_tokens) or add data.",
        )

    def _hash(self, identity: str) -> str:
        facts = {
            "order": ORDER_VERSION,
            "identity": identity,
            "seed": self.seed,
            "batch": self.batch_of_bucket,
            "pool_shards": self.pool_shards,
            "weights": self.weights,
            "buckets": [bucket.describe() for bucket in self.table.buckets],
            "windows": self.epoch_windows,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class EpochOrder:
    """The batches of one epoch, in order."""

    def __init__(self, plan: Plan, epoch: int) -> None:
        rows = []
        for bucket, batch in enumerate(plan.batch_of_bucket):
            per_epoch = plan.epoch_windows[bucket]
            number = np.arange(
                epoch * per_epoch // batch, (epoch + 1) * per_epoch // batch, dtype=np.int64
            )
            last = (number + 1) * batch - 1 - epoch * per_epoch
            pool = np.searchsorted(plan.pool_bounds(bucket), last, side="right") - 1
            rows.append(np.stack([pool, np.full(len(number), bucket), number], axis=1))
        batches = np.concatenate(rows)
        mixed = permute(
            np.arange(len(batches), dtype=np.int64),
            seed=plan.seed,
            purpose=f"steps/epoch {epoch}",
        )
        rank = np.empty(len(batches), dtype=np.int64)
        rank[mixed] = np.arange(len(batches))
        self._schedule: IntArray = batches[np.lexsort((rank, batches[:, 0])), 1:]

    def __len__(self) -> int:
        return len(self._schedule)

    def batch(self, place: int) -> tuple[int, int]:
        """Return (bucket, number of the batch in the bucket's stream) of the epoch's n-th step."""
        bucket, number = self._schedule[place]
        return int(bucket), int(number)


@lru_cache(maxsize=4)
def _epoch_order(plan: Plan, epoch: int) -> EpochOrder:
    return EpochOrder(plan, epoch)


# Batches of all buckets are taken from neighbouring pools: a few pools per bucket are in use.
@lru_cache(maxsize=256)
def _mixed_pool(plan: Plan, bucket: int, epoch: int, pool: int) -> IntArray:
    return plan.pool_windows(bucket, epoch=epoch, pool=pool)


def _checked_weights(weights: Sequence[float] | None, *, num_sets: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * num_sets
    if len(weights) != num_sets or any(not 0 < weight < float("inf") for weight in weights):
        raise InputError(
            "data.weights",
            found=str(list(weights)),
            expected=f"a number above 0 for each of the {num_sets} shard sets",
            do="Leave a set out of data.shards instead of giving it the weight 0.",
        )
    return tuple(float(weight) for weight in weights)
