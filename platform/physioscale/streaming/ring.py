"""Threads that fill a ring of reused batches ahead of the consumer.

Worker processes are not used: handing a batch over in fresh shared memory costs more than reading
it. A batch's memory is reused, so a batch is valid until the next one is asked for.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.random import Draws
from physioscale.streaming.batch import Batch
from physioscale.streaming.reader import WindowReader
from physioscale.streaming.selection import StreamRecording
from physioscale.streaming.windows import WindowTable


@dataclass(frozen=True)
class Request:
    """One micro-batch to be read."""

    bucket: int
    windows: NDArray[np.int64]
    """(B,) window numbers."""
    sample_index: NDArray[np.int64]
    """(B,) each window's place in the global batch (keys its draws)."""
    step: int
    epoch: int


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
        pin: bool = False,
    ) -> None:
        self._reader = reader
        self._table = table
        self._recordings = recordings
        self._seed = seed
        self._threads = threads
        self._num_slots = max(2, slots)
        self._pin = pin
        self._slots: list[Tensor] = []
        self.wait_s = 0.0
        """Seconds that the consumer has waited for a batch so far."""

    def batches(self, requests: Iterator[Request]) -> Iterator[Batch]:
        """Yield a batch per request, in order."""
        self._slots = [torch.empty(0) for _ in range(self._num_slots)]
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="read") as pool:
            try:
                for number, request in enumerate(requests):
                    pending.append(self._submit(pool.submit, request, number % self._num_slots))
                    # The slot that the consumer holds is filled again only when it comes back for
                    # the next batch.
                    if len(pending) == self._num_slots:
                        yield self._finish(*pending.popleft())
                while pending:
                    yield self._finish(*pending.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self, submit: Callable[..., Future[None]], request: Request, slot: int
    ) -> tuple[Batch, list[Future[None]]]:
        bucket = self._table.buckets[request.bucket]
        count = len(request.windows)
        times = bucket.window_samples + 2 * bucket.margin_samples
        signal = self._buffer(slot, (count, times, bucket.num_channels))
        located = self._reader.locate(request.windows, bucket=request.bucket)
        bounds = np.linspace(0, count, min(self._threads, count) + 1).astype(int).tolist()
        futures = [
            submit(self._reader.read, located, signal, low=low, high=high)
            for low, high in pairwise(bounds)
        ]
        return self._describe(request, signal), futures

    def _finish(self, batch: Batch, futures: list[Future[None]]) -> Batch:
        began = time.perf_counter()
        for future in futures:
            future.result()
        self.wait_s += time.perf_counter() - began
        return batch

    def _buffer(self, slot: int, shape: tuple[int, int, int]) -> Tensor:
        numel = shape[0] * shape[1] * shape[2]
        if self._slots[slot].numel() < numel:
            self._slots[slot] = torch.empty(numel, dtype=torch.float32, pin_memory=self._pin)
        return self._slots[slot][:numel].view(shape)

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
            stored_band_hz=bucket.stored_band_hz,
            window_ids=request.windows,
            recording_rows=rows,
            start_s=self._table.starts_s(request.windows),
            channel_names=tuple(r.channel_names for r in recordings),
        )
