"""Threads that fill a ring of reused batches ahead of the consumer.

Worker processes are not used: handing a batch over in fresh shared memory costs more than reading
it. A batch's memory is reused, so a batch is valid until the next one is asked for.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.random import Draws
from physioscale.streaming.batch import Batch
from physioscale.streaming.reader import DamagedShardError, Located, WindowReader
from physioscale.streaming.selection import StreamRecording
from physioscale.streaming.windows import WindowTable


@dataclass(frozen=True)
class Request:
    """One micro-batch to be read."""

    bucket: int
    windows: NDArray[np.int64]
    """(B,) window numbers."""
    onsets: NDArray[np.int64]
    """(B,) samples from the run's first at which each window starts."""
    sample_index: NDArray[np.int64]
    """(B,) each window's place in the global batch (keys its draws)."""
    step: int
    epoch: int


_Damage = dict[int, DamagedShardError]
"""Row in the batch -> what is wrong with the window."""


@dataclass(frozen=True)
class _Pending:
    """A micro-batch that is being read."""

    request: Request
    signal: Tensor
    futures: list[Future[_Damage]]


class BatchRing:
    """Reads requests ahead of the consumer with `threads` threads into `slots` buffers."""

    def __init__(
        self,
        reader: WindowReader,
        table: WindowTable,
        recordings: Sequence[StreamRecording],
        *,
        seed: int,
        threads: int,
        slots: int,
        damage_budget: int = 0,
        pin: bool = False,
    ) -> None:
        self._reader = reader
        self._table = table
        self._recordings = recordings
        self._seed = seed
        self._threads = threads
        self._num_slots = max(2, slots)
        self._damage_budget = damage_budget
        self._pin = pin
        self.wait_s = 0.0
        """Seconds that the consumer has waited for a batch so far."""
        self.damaged: dict[int, str] = {}
        """Damaged windows met so far, by number, with what was wrong."""

    def batches(self, requests: Iterator[Request]) -> Iterator[Batch]:
        """Yield a batch per request, in order.

        Raises:
            DamagedShardError: a window cannot be read and the budget is spent, or no window of a
                micro-batch can be read.
        """
        slots = [torch.empty(0) for _ in range(self._num_slots)]
        pending: deque[_Pending] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="read") as pool:
            try:
                for number, request in enumerate(requests):
                    signal = self._buffer(slots, number % self._num_slots, request)
                    pending.append(self._submit(pool.submit, request, signal))
                    # The slot that the consumer holds is filled again only when it comes back for
                    # the next batch.
                    if len(pending) == self._num_slots:
                        yield self._finish(pending.popleft())
                while pending:
                    yield self._finish(pending.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self, submit: Callable[..., Future[_Damage]], request: Request, signal: Tensor
    ) -> _Pending:
        count = len(request.windows)
        located = self._reader.locate(request.windows, onsets=request.onsets, bucket=request.bucket)
        bounds = np.linspace(0, count, min(self._threads, count) + 1).astype(int).tolist()
        futures = [
            submit(self._fill, located, signal, low=low, high=high)
            for low, high in pairwise(bounds)
        ]
        return _Pending(request, signal, futures)

    def _fill(self, located: Located, signal: Tensor, *, low: int, high: int) -> _Damage:
        """Read the windows [low, high) of a batch; return those that cannot be read."""
        damage: _Damage = {}
        for window in range(low, high):
            try:
                self._reader.read(located, signal, window=window)
            except DamagedShardError as error:
                damage[window] = error
        return damage

    def _finish(self, pending: _Pending) -> Batch:
        began = time.perf_counter()
        damage: _Damage = {}
        for future in pending.futures:
            damage.update(future.result())
        self.wait_s += time.perf_counter() - began
        request = self._replace(pending, damage) if damage else pending.request
        return self._describe(request, pending.signal)

    def _replace(self, pending: _Pending, damage: _Damage) -> Request:
        """Put the next readable window of the micro-batch in the place of each damaged one."""
        windows, onsets = pending.request.windows.copy(), pending.request.onsets.copy()
        whole = [place for place in range(len(windows)) if place not in damage]
        for place, error in sorted(damage.items()):
            self.damaged[int(windows[place])] = str(error)
            if len(self.damaged) > self._damage_budget or not whole:
                raise error
            spare = next((other for other in whole if other > place), whole[0])
            pending.signal[place] = pending.signal[spare]
            windows[place], onsets[place] = windows[spare], onsets[spare]
        return replace(pending.request, windows=windows, onsets=onsets)

    def _buffer(self, slots: list[Tensor], slot: int, request: Request) -> Tensor:
        bucket = self._table.buckets[request.bucket]
        times = bucket.window_samples + 2 * bucket.margin_samples
        shape = (len(request.windows), times, bucket.num_channels + bucket.num_references)
        numel = math.prod(shape)
        if slots[slot].numel() < numel:
            slots[slot] = torch.empty(numel, dtype=torch.float32, pin_memory=self._pin)
        return slots[slot][:numel].view(shape)

    def _describe(self, request: Request, signal: Tensor) -> Batch:
        bucket = self._table.buckets[request.bucket]
        rows = self._table.run_recording[self._table.runs_of(request.windows)]
        recordings = [self._recordings[row] for row in rows.tolist()]
        return Batch(
            # Stored samples are (times, channels): the model's order is a view of them.
            signal=signal.transpose(1, 2),
            positions_m=torch.from_numpy(np.stack([r.positions_m for r in recordings])),
            mean=torch.from_numpy(np.stack([r.mean for r in recordings])),
            std=torch.from_numpy(np.stack([r.std for r in recordings])),
            draws=Draws(
                self._seed, step=request.step, sample_index=torch.from_numpy(request.sample_index)
            ),
            step=request.step,
            epoch=request.epoch,
            sampling_rate_hz=bucket.sampling_rate_hz,
            margin=(bucket.margin_samples, bucket.margin_samples),
            stored=bucket.stored,
            num_references=bucket.num_references,
            window_ids=request.windows,
            recording_rows=rows,
            start_s=self._table.starts_s(request.windows, onsets=request.onsets),
            channel_names=tuple(r.channel_names for r in recordings),
        )
