"""A stream: the windows of one split, in an exact order, for one rank.

    stream = open_stream(config, split="train")
    for batch in stream.train_loader(first_step=0, last_step=1000):
        ...

A stream does not need Lightning. Its state is four numbers (plan hash, seed, epoch, step) and can
be continued with any number of ranks and threads that divides the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from physioscale.config import RunConfig
from physioscale.contract import SPLITS, ShardSet, open_shard_set
from physioscale.errors import InputError
from physioscale.random import Draws
from physioscale.streaming.acceptance import check_accepts
from physioscale.streaming.batch import Batch
from physioscale.streaming.batches import Layout, batch_sizes, make_layout
from physioscale.streaming.compact import open_compact
from physioscale.streaming.order import Plan
from physioscale.streaming.reader import WindowReader
from physioscale.streaming.ring import BatchRing, Request
from physioscale.streaming.selection import LeftOut, StreamRecording, select_recordings
from physioscale.streaming.windows import WindowTable, enumerate_windows

IntArray = NDArray[np.int64]


def open_stream(
    config: RunConfig,
    *,
    split: str,
    rank: int = 0,
    world_size: int = 1,
    tokens_per_window: Callable[[int], int] | None = None,
    pin: bool = False,
) -> "Stream":
    """Open the windows of `split` in the shard sets of `config.data.shards`.

    Args:
        config: the run; `accepts`, `load`, `data` and `seed` are used.
        split: train, val or test.
        rank: this process's number.
        world_size: number of processes that share the global batch.
        tokens_per_window: number of channels -> tokens of a window, for batches given in tokens.
        pin: keep batches in pinned memory, for copies to a GPU.

    Raises:
        InputError: a shard set that the recipe does not accept, no usable recording, windows longer
            than every recording.
    """
    if split not in SPLITS:
        raise InputError("split", found=repr(split), expected="train, val or test", do="Name one.")
    if not config.data.shards:
        raise InputError(
            "data.shards",
            found="no shard set",
            expected="one or more folders",
            do="Add data.shards=DIR; make one with `physioscale shard CORPUS --out DIR`.",
        )
    shard_sets = [open_shard_set(path) for path in config.data.shards]
    for shard_set in shard_sets:
        check_accepts(config.accepts, shard_set)
    recordings, left_out = select_recordings(shard_sets, config=config, split=split)
    if not recordings:
        raise _nothing_to_read(shard_sets, split, left_out)
    return Stream(
        config,
        split=split,
        shard_sets=shard_sets,
        recordings=recordings,
        left_out=left_out,
        layout=(rank, world_size),
        tokens_per_window=tokens_per_window,
        pin=pin,
    )


class Stream:
    """The windows of one split for one rank; made by `open_stream`."""

    def __init__(
        self,
        config: RunConfig,
        *,
        split: str,
        shard_sets: Sequence[ShardSet],
        recordings: list[StreamRecording],
        left_out: LeftOut,
        layout: tuple[int, int],
        tokens_per_window: Callable[[int], int] | None,
        pin: bool,
    ) -> None:
        data = config.data
        self.split = split
        self.recordings = recordings
        self.left_out = left_out
        self.shard_sets = tuple(shard_sets)
        self._config = config
        self._rank, self._world_size = layout
        self._tokens_per_window = tokens_per_window
        self._pin = pin
        cache = None if data.cache_dir is None else Path(data.cache_dir)
        indexes = [open_compact(shard_set, cache_dir=cache) for shard_set in shard_sets]
        self.table: WindowTable = enumerate_windows(
            indexes,
            recordings,
            load=config.load,
            window_s=data.window_s,
            stride_s=data.stride_s if data.stride_s is not None else data.window_s,
        )
        if self.table.num_windows == 0:
            raise _windows_too_long(recordings, shard_sets, data.window_s)
        self._reader = WindowReader(indexes, recordings, self.table)
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The order of the global batches (made on first use)."""
        if self._plan is None:
            data = self._config.data
            tokens = None
            if self._tokens_per_window is not None:
                tokens = [self._tokens_per_window(b.num_channels) for b in self.table.buckets]
            sizes = batch_sizes(
                self.table,
                batch_samples=data.batch_samples,
                batch_tokens=data.batch_tokens,
                divisible_by=data.divisible_by,
                tokens_of_bucket=tokens,
            )
            self._plan = Plan(
                self.table,
                seed=self._config.seed,
                batch_of_bucket=sizes,
                pool_shards=data.pool_shards,
                identity=self._identity(),
                weights=data.weights,
            )
        return self._plan

    @property
    def layout(self) -> Layout:
        """How this rank shares the global batch."""
        return make_layout(
            self.plan.batch_of_bucket,
            micro_batch=self._config.data.micro_batch,
            rank=self._rank,
            world_size=self._world_size,
        )

    @property
    def plan_hash(self) -> str:
        """Identifies the order: equal hashes give equal batches at equal steps."""
        return self.plan.hash

    @property
    def num_windows(self) -> int:
        """Windows of the split."""
        return self.table.num_windows

    def state(self, step: int) -> dict[str, int | str]:
        """Return the stream's whole state at a global step."""
        return self.plan.state(step)

    def train_loader(self, *, first_step: int, last_step: int) -> "StepLoader":
        """Return this rank's micro-batches of the global steps [first_step, last_step)."""
        return StepLoader(self, first_step=first_step, last_step=last_step)

    def ordered_loader(self, *, batch: int) -> "OrderedLoader":
        """Return this rank's share of all windows, once each, in index order."""
        return OrderedLoader(self, batch=batch)

    def describe(self) -> list[str]:
        """Return lines that tell a person what is read and what is left out."""
        subjects = {(recording.corpus, recording.subject) for recording in self.recordings}
        lines = [
            f"{self.split}: {len(self.recordings)} recordings of {len(subjects)} subjects, "
            f"{self.table.num_windows} windows, {self.table.hours:.2f} h"
        ]
        per_bucket = np.bincount(
            self.table.chunk_bucket, weights=self.table.chunk_num_windows
        ).astype(int)
        for bucket, count in zip(self.table.buckets, per_bucket.tolist(), strict=True):
            lines.append(f"  {count} windows of {bucket.describe()}")
        lines.extend(f"  {line}" for line in self.left_out.describe())
        if self.table.too_short:
            lines.append(f"  left out: {self.table.too_short} stretches shorter than a window")
        return lines

    def describe_plan(self) -> list[str]:
        """Return lines about the order: steps per epoch, global batches, weights."""
        return self.plan.describe()

    def close(self) -> None:
        """Close the shards."""
        self._reader.close()

    def _identity(self) -> str:
        data = self._config.data
        sets = [shard_set.info.checksum for shard_set in self.shard_sets]
        rules = (self._config.accepts, data.select, self._config.load)
        windows = (data.window_s, data.stride_s, data.random_onset)
        return repr((sets, self.split, windows, rules))

    def _onsets(self, windows: IntArray, *, step: int, places: IntArray) -> IntArray:
        """Return where the windows of a training step start in their runs."""
        if not self._config.data.random_onset:
            return self.table.onsets(windows, uniform=None)
        draws = Draws(self._config.seed, step=step, sample_index=torch.from_numpy(places))
        return self.table.onsets(windows, uniform=draws.uniform("onset", 1)[:, 0].numpy())

    def _ring(self) -> BatchRing:
        return BatchRing(
            self._reader,
            self.table,
            self.recordings,
            seed=self._config.seed,
            threads=self._config.data.reader_threads,
            slots=self._config.data.ring_batches,
            damage_budget=self._config.data.damage_budget,
            pin=self._pin,
        )


class StepLoader:
    """Micro-batches of a rank for a range of global steps, crossing epochs by itself."""

    def __init__(self, stream: Stream, *, first_step: int, last_step: int) -> None:
        self._stream = stream
        self._steps = range(first_step, last_step)
        self.accumulation = stream.layout.accumulation
        self._ring = stream._ring()

    @property
    def wait_s(self) -> float:
        """Seconds that the consumer has waited for batches so far."""
        return self._ring.wait_s

    @property
    def damaged(self) -> dict[int, str]:
        """Damaged windows that were replaced so far, by number, with what was wrong."""
        return self._ring.damaged

    def __len__(self) -> int:
        # Counted from step 0: a trainer that resumes counts the batches it had before as well.
        return self._steps.stop * self.accumulation

    def __iter__(self) -> Iterator[Batch]:
        return self._ring.batches(self._requests())

    def __enter__(self) -> "StepLoader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the shards."""
        self._stream.close()

    def _requests(self) -> Iterator[Request]:
        layout = self._stream.layout
        for step in self._steps:
            planned = self._stream.plan.step(step)
            for micro in range(layout.accumulation):
                places = layout.share(planned.windows, micro=micro)
                windows = planned.windows[places]
                yield Request(
                    bucket=planned.bucket,
                    windows=windows,
                    onsets=self._stream._onsets(windows, step=step, places=places),
                    sample_index=places,
                    step=step,
                    epoch=planned.epoch,
                )


class OrderedLoader:
    """All windows of a stream once, bucket by bucket in index order; a rank takes every n-th."""

    def __init__(self, stream: Stream, *, batch: int) -> None:
        self._stream = stream
        self._batch = batch
        self._ring = stream._ring()

    def __iter__(self) -> Iterator[Batch]:
        return self._ring.batches(self._requests())

    def __len__(self) -> int:
        return sum(-(-len(windows) // self._batch) for _, windows in self._shares())

    def _shares(self) -> Iterator[tuple[int, IntArray]]:
        table = self._stream.table
        for bucket in range(len(table.buckets)):
            chunks = np.flatnonzero(table.chunk_bucket == bucket)
            windows = np.concatenate(
                [
                    np.arange(first, first + count, dtype=np.int64)
                    for first, count in zip(
                        table.chunk_first_window[chunks].tolist(),
                        table.chunk_num_windows[chunks].tolist(),
                        strict=True,
                    )
                ]
            )
            yield bucket, windows[self._stream._rank :: self._stream._world_size]

    def _requests(self) -> Iterator[Request]:
        for bucket, windows in self._shares():
            for at in range(0, len(windows), self._batch):
                part = windows[at : at + self._batch]
                # Draws are keyed by the window itself: the same for any batch size.
                yield Request(
                    bucket=bucket,
                    windows=part,
                    onsets=self._stream.table.onsets(part, uniform=None),
                    sample_index=part & 0x7FFFFFFF,
                    step=0,
                    epoch=0,
                )


def _nothing_to_read(shard_sets: Sequence[ShardSet], split: str, left_out: LeftOut) -> InputError:
    splits = dict.fromkeys(SPLITS, 0)
    for shard_set in shard_sets:
        for name, facts in shard_set.info.splits.items():
            splits[name] += facts.recordings
    counts = ", ".join(f"{name} {count}" for name, count in splits.items())
    reasons = "; ".join([f"recordings: {counts}", *left_out.describe()])
    return InputError(
        "data.shards",
        found=f"no usable recording in split {split} ({reasons})",
        expected="at least one",
        do="Choose another split, or convert with other shares (`physioscale shard --split`).",
    )


def _windows_too_long(
    recordings: Sequence[StreamRecording], shard_sets: Sequence[ShardSet], window_s: float
) -> InputError:
    longest = max(
        float(shard_sets[r.shard_set].recordings["duration_s"][r.row].as_py()) for r in recordings
    )
    return InputError(
        "data.window_s",
        found=f"windows of {window_s:g} s, but the longest of {len(recordings)} recordings is "
        f"{longest:g} s",
        expected="a window that fits into a gap-free stretch of a recording",
        do="Choose a shorter window.",
    )
