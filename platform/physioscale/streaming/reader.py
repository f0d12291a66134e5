"""Reading windows: one `pread` per stored stretch, every used block checked, decoded in place.

A window (with the load pipeline's margins) lies in one segment, or in neighbouring segments of one
run. Where the stretches of a batch lie is worked out for all its windows at once (`locate`); each
stretch is then read with one `pread`, widened to whole checksum blocks, and its int16 values become
float32 in the channels' unit right in the batch (`read`). System call, checksum and decoding run
outside the interpreter lock, so threads read side by side.

Where a margin reaches past the end of a run it is filled by MNE's edge rule: the signal reflected
about its end value, zeros beyond its length.

Letters: B windows, T times with margins, C used channels, N stretches.
"""

import os
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.contract.blocks import BLOCK_BYTES
from physioscale.errors import InputError, MissingInputError
from physioscale.streaming.compact import CompactIndex
from physioscale.streaming.selection import StreamRecording
from physioscale.streaming.windows import WindowTable


class DamagedShardError(InputError):
    """Bytes of a shard are not those that were written."""


@dataclass(frozen=True)
class Stretches:
    """Where the windows of a batch lie: N stored stretches, in the order of the windows."""

    window: NDArray[np.int64]
    """(N,) row in the batch."""
    recording: NDArray[np.int64]
    """(N,) row of the stream's recordings."""
    segment: NDArray[np.int64]
    """(N,) row of the shard set's compact index."""
    first_row: NDArray[np.int64]
    """(N,) first stored sample of the stretch in its segment."""
    num_rows: NDArray[np.int64]
    """(N,) samples of the stretch."""
    target: NDArray[np.int64]
    """(N,) where the stretch begins in the window."""
    before: NDArray[np.int64]
    """(B,) samples in front of the run, to be reflected."""
    behind: NDArray[np.int64]
    """(B,) samples behind the run, to be reflected."""

    def part(self, low: int, high: int) -> range:
        """Return the stretches of the windows [low, high)."""
        bounds = np.searchsorted(self.window, (low, high))
        return range(int(bounds[0]), int(bounds[1]))


class WindowReader:
    """Reads windows of a stream into batches; safe to call from several threads."""

    def __init__(
        self,
        indexes: Sequence[CompactIndex],
        recordings: Sequence[StreamRecording],
        table: WindowTable,
    ) -> None:
        self._indexes = indexes
        # Plain views: slicing a numpy memmap object costs more than reading what it points to.
        self._segments = [np.asarray(index.segments) for index in indexes]
        self._words = [np.asarray(index.words) for index in indexes]
        self._recordings = recordings
        self._set_of_recording = np.array([r.shard_set for r in recordings], dtype=np.int64)
        self._all_columns = [len(r.columns) == r.stored_channels for r in recordings]
        self._table = table
        self._files: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._scratch = threading.local()

    def locate(self, windows: NDArray[np.int64], *, bucket: int) -> Stretches:
        """Return where `windows` (B,) of one bucket lie."""
        table, shape = self._table, self._table.buckets[bucket]
        run = table.runs_of(windows)
        number = windows - table.run_first_window[run]
        begin = number * shape.stride_samples - shape.margin_samples
        end = begin + shape.window_samples + 2 * shape.margin_samples
        low = np.maximum(begin, 0)
        high = np.minimum(end, table.run_num_samples[run])
        length = table.run_segment_samples[run]
        first, last = low // length, (high - 1) // length
        count = last - first + 1
        window = np.repeat(np.arange(len(windows)), count)
        within = np.arange(len(window)) - np.repeat(np.cumsum(count) - count, count)
        place = first[window] + within
        origin = place * length[window]
        start = np.maximum(low[window], origin)
        stop = np.minimum(high[window], origin + length[window])
        return Stretches(
            window=window,
            recording=table.run_recording[run][window],
            segment=table.run_first_segment[run][window] + place,
            first_row=start - origin,
            num_rows=stop - start,
            target=start - begin[window],
            before=low - begin,
            behind=end - high,
        )

    def read(self, stretches: Stretches, out: Tensor, *, low: int, high: int) -> None:
        """Read the windows [low, high) of a located batch into `out` (B, T, C) float32.

        Raises:
            DamagedShardError: a block's checksum differs, or the shard is too short.
            MissingInputError: the shard is not there.
        """
        for number in stretches.part(low, high):
            window, target = int(stretches.window[number]), int(stretches.target[number])
            rows = int(stretches.num_rows[number])
            self._read_stretch(
                int(stretches.recording[number]),
                int(stretches.segment[number]),
                first_row=int(stretches.first_row[number]),
                out=out[window, target : target + rows],
            )
        for window in range(low, high):
            before, behind = int(stretches.before[window]), int(stretches.behind[window])
            if before or behind:
                reflect(out[window], before=before, behind=behind)

    def close(self) -> None:
        """Close the shards."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _read_stretch(self, recording: int, segment: int, *, first_row: int, out: Tensor) -> None:
        number = int(self._set_of_recording[recording])
        facts = self._segments[number][segment]
        channels = self._recordings[recording].stored_channels
        dtype = torch.float32 if facts["is_float"] else torch.int16
        row_bytes = channels * dtype.itemsize
        signal_bytes = int(facts["num_times"]) * row_bytes
        low = first_row * row_bytes
        first_block = low // BLOCK_BYTES
        last_block = -(-(low + len(out) * row_bytes) // BLOCK_BYTES)
        skipped = first_block * BLOCK_BYTES
        size = min(last_block * BLOCK_BYTES, signal_bytes) - skipped
        data = self._scratch_bytes(size)
        self._pread(number, segment, int(facts["signal_offset"]) + skipped, data)
        words, table = self._words[number], int(facts["words"])
        self._check(number, segment, data, words[table + first_block : table + last_block], skipped)
        stored = torch.frombuffer(
            data, dtype=dtype, count=len(out) * channels, offset=low - skipped
        ).view(len(out), channels)
        table += -(-signal_bytes // BLOCK_BYTES)
        scale = words[table : table + channels].view("<f4")
        offset = words[table + channels : table + 2 * channels].view("<f4")
        if not self._all_columns[recording]:
            columns = self._recordings[recording].columns
            stored = stored[:, torch.from_numpy(columns)]
            scale, offset = scale[columns], offset[columns]
        torch.mul(stored, torch.from_numpy(scale.copy()), out=out)
        if offset.any():
            out += torch.from_numpy(offset.copy())

    def _scratch_bytes(self, size: int) -> memoryview:
        """Return `size` bytes of this thread's reused buffer."""
        buffer: bytearray | None = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._scratch.buffer = bytearray(size)
        return memoryview(buffer)[:size]

    def _pread(self, number: int, segment: int, offset: int, out: memoryview) -> None:
        shard = int(self._segments[number]["shard"][segment])
        found = os.preadv(self._open(number, shard), [out], offset)
        if found != len(out):
            raise self._damaged(
                number,
                segment,
                offset=offset,
                found=f"{found} bytes where {len(out)} should stand",
            )

    def _check(
        self,
        number: int,
        segment: int,
        data: memoryview,
        expected: NDArray[np.uint32],
        skipped: int,
    ) -> None:
        for block, checksum in enumerate(expected.tolist()):
            at = block * BLOCK_BYTES
            if zlib.crc32(data[at : at + BLOCK_BYTES]) != checksum:
                raise self._damaged(
                    number,
                    segment,
                    offset=int(self._segments[number]["signal_offset"][segment]) + skipped + at,
                    found=f"a block of {BLOCK_BYTES} bytes whose checksum differs",
                )

    def _open(self, number: int, shard: int) -> int:
        descriptor = self._files.get((number, shard))
        if descriptor is not None:
            return descriptor
        index = self._indexes[number]
        path: Path = index.folder / index.shard_names[shard]
        with self._lock:
            if (number, shard) not in self._files:
                try:
                    self._files[number, shard] = os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    raise MissingInputError(
                        f"{path.parent.name}/{path.name}",
                        found="no such shard",
                        expected="every shard that dataset.json names",
                        do="Copy it back, or convert the corpus again.",
                    ) from None
            return self._files[number, shard]

    def _damaged(self, number: int, segment: int, *, offset: int, found: str) -> DamagedShardError:
        segments, index = self._segments[number], self._indexes[number]
        facts = segments[segment]
        place = segment - int(np.searchsorted(segments["recording"], facts["recording"]))
        named = next(
            r.recording
            for r in self._recordings
            if r.shard_set == number and r.row == int(facts["recording"])
        )
        return DamagedShardError(
            f"{index.folder.name}/{index.shard_names[int(facts['shard'])]}, byte {offset}, "
            f"recording {named!r}, segment {place}",
            found=found,
            expected="the bytes that were written",
            do="Run `physioscale verify` on the folder; copy the shard back or convert again.",
        )


def reflect(signal: Tensor, *, before: int, behind: int) -> None:
    """Fill `before` and `behind` times at the ends of (T, C) by odd reflection, in place.

    Beyond the length of what is there, zeros: the rule of MNE's `reflect_limited`.
    """
    present = len(signal) - before - behind
    inside = signal[before : before + present]
    if before:
        count = min(before, present - 1)
        signal[: before - count] = 0
        signal[before - count : before] = 2 * inside[0] - inside[1 : count + 1].flip(0)
    if behind:
        count = min(behind, present - 1)
        last = before + present
        mirrored = inside[present - 1 - count : present - 1].flip(0)
        signal[last : last + count] = 2 * inside[-1] - mirrored
        signal[last + count :] = 0
