"""Reading windows: one `pread` per stored stretch, every used block checked, decoded in place.

A window (with the load pipeline's margins) lies in one segment, or in neighbouring segments of one
run. Where the stretches of a batch lie is worked out for all its windows at once (`locate`); each
stretch is then read with one `pread`, widened to whole checksum blocks, and its int16 values become
float32 in the channels' unit right in the batch (`read`). System call, checksum and decoding run
outside the interpreter lock, so threads read side by side.

Where a margin reaches past the end of a run it is filled by MNE's edge rule: the signal reflected
about its end value, zeros beyond its length.

Letters: B windows, T times with margins, C used channels, N stored stretches.
"""

import os
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physioscale.contract.blocks import BLOCK_BYTES, block_crc32, crc32_of_blocks
from physioscale.errors import InputError
from physioscale.streaming.compact import SEGMENT_DTYPE, CompactIndex
from physioscale.streaming.selection import StreamRecording
from physioscale.streaming.windows import WindowTable


class DamagedShardError(InputError):
    """A shard is missing or cannot be read, or its bytes are not those that were written."""


class Stretch(NamedTuple):
    """One stored stretch of a window: what one `pread` fetches."""

    window: int
    """Row in the batch."""
    target: int
    """Where it begins in the window (times)."""
    recording: int
    """Row of the stream's recordings."""
    segment: int
    """Row of the shard set's compact index."""
    file_offset: int
    """First byte to read: the begin of a checksum block."""
    size: int
    """Bytes to read: up to the end of a checksum block, or of the signal."""
    skip: int
    """Bytes read before the first wanted one."""
    num_rows: int
    """Wanted samples."""
    checksums: int
    """Place of the first block's checksum among the words."""
    values: int
    """Place of the scales, then the offsets, among the words."""
    is_float: bool
    has_offset: bool


@dataclass(frozen=True)
class Located:
    """Where the windows of a batch lie."""

    stretches: list[list[Stretch]]
    """Per window."""
    before: list[int]
    """Per window: samples in front of the run, to be reflected."""
    behind: list[int]
    """Per window: samples behind the run, to be reflected."""


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
        self._values = [torch.from_numpy(words.view("<f4")) for words in self._words]
        self._set_numbers = [r.shard_set for r in recordings]
        self._set_of_recording = np.array(self._set_numbers, dtype=np.int64)
        self._stored_channels = np.array([r.stored_channels for r in recordings], dtype=np.int64)
        self._columns = [
            None
            if np.array_equal(r.columns, np.arange(r.stored_channels))
            else torch.from_numpy(r.columns)
            for r in recordings
        ]
        self._table = table
        self._files: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._scratch = threading.local()

    def locate(
        self, windows: NDArray[np.int64], *, onsets: NDArray[np.int64], bucket: int
    ) -> Located:
        """Return where `windows` (B,) of one bucket lie, begun at `onsets` (B,) of their runs."""
        table, shape = self._table, self._table.buckets[bucket]
        run = table.runs_of(windows)
        begin = onsets - shape.margin_samples
        end = begin + shape.window_samples + 2 * shape.margin_samples
        low = np.maximum(begin, 0)
        high = np.minimum(end, table.run_num_samples[run])
        length = table.run_segment_samples[run]
        first, last = low // length, (high - 1) // length
        count = last - first + 1
        # From here on per stretch: windows are repeated as often as they have segments.
        window = np.repeat(np.arange(len(windows)), count)
        within = np.arange(len(window)) - np.repeat(np.cumsum(count) - count, count)
        place = first[window] + within
        origin = place * length[window]
        start = np.maximum(low[window], origin)
        stop = np.minimum(high[window], origin + length[window])
        stretches: list[list[Stretch]] = [[] for _ in windows]
        for stretch in self._stretches(
            window,
            target=start - begin[window],
            recording=table.run_recording[run][window],
            segment=table.run_first_segment[run][window] + place,
            rows=(start - origin, stop - origin),
        ):
            stretches[stretch.window].append(stretch)
        return Located(stretches, (low - begin).tolist(), (end - high).tolist())

    def read(self, located: Located, out: Tensor, *, window: int) -> None:
        """Read one window of a located batch into its row of `out` (B, T, C) float32.

        Raises:
            DamagedShardError: a block's checksum differs, or the shard is too short, missing or
                cannot be read.
        """
        signal = out[window]
        for stretch in located.stretches[window]:
            self._read_stretch(stretch, signal.narrow(0, stretch.target, stretch.num_rows))
        before, behind = located.before[window], located.behind[window]
        if before or behind:
            reflect(signal, before=before, behind=behind)

    def close(self) -> None:
        """Close the shards."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _stretches(
        self,
        window: NDArray[np.int64],
        *,
        target: NDArray[np.int64],
        recording: NDArray[np.int64],
        segment: NDArray[np.int64],
        rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> list[Stretch]:
        """Return the stretches; all arrays (N,), `rows` first and last + 1 in the segment."""
        number = self._set_of_recording[recording]
        facts = np.empty(len(window), dtype=SEGMENT_DTYPE)
        for shard_set in np.unique(number).tolist():
            here = number == shard_set
            facts[here] = self._segments[shard_set][segment[here]]
        is_float = facts["is_float"].astype(bool)
        row_bytes = self._stored_channels[recording] * np.where(is_float, 4, 2)
        signal_bytes = facts["num_times"] * row_bytes
        low, high = rows[0] * row_bytes, rows[1] * row_bytes
        block = low // BLOCK_BYTES
        start = block * BLOCK_BYTES
        stop = np.minimum(-(-high // BLOCK_BYTES) * BLOCK_BYTES, signal_bytes)
        columns = (
            window,
            target,
            recording,
            segment,
            facts["signal_offset"] + start,
            stop - start,
            low - start,
            rows[1] - rows[0],
            facts["words"] + block,
            facts["words"] - (-signal_bytes // BLOCK_BYTES),
            is_float,
            facts["has_offset"].astype(bool),
        )
        return [Stretch(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def _read_stretch(self, stretch: Stretch, out: Tensor) -> None:
        number = self._set_numbers[stretch.recording]
        recording = self._recordings[stretch.recording]
        channels = recording.stored_channels
        data = self._scratch_bytes(stretch.size)
        self._pread(number, stretch, data)
        self._check(number, stretch, data)
        stored = torch.frombuffer(
            data,
            dtype=torch.float32 if stretch.is_float else torch.int16,
            count=stretch.num_rows * channels,
            offset=stretch.skip,
        ).view(stretch.num_rows, channels)
        values = self._values[number]
        scale = values.narrow(0, stretch.values, channels)
        offset = values.narrow(0, stretch.values + channels, channels)
        columns = self._columns[stretch.recording]
        if columns is not None:
            stored, scale, offset = stored[:, columns], scale[columns], offset[columns]
        torch.mul(stored, scale, out=out)
        if stretch.has_offset:
            out += offset

    def _scratch_bytes(self, size: int) -> memoryview:
        """Return `size` bytes of this thread's reused buffer."""
        buffer: bytearray | None = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._scratch.buffer = bytearray(size)
        return memoryview(buffer)[:size]

    def _pread(self, number: int, stretch: Stretch, out: memoryview) -> None:
        shard = int(self._segments[number]["shard"][stretch.segment])
        descriptor = self._open(number, shard)
        try:
            count = os.preadv(descriptor, [out], stretch.file_offset)
        except OSError as error:
            found = f"it cannot be read ({error.strerror})"
        else:
            if count == len(out):
                return
            found = f"{count} bytes where {len(out)} should stand"
        raise self._damaged(number, stretch.segment, offset=stretch.file_offset, found=found)

    def _check(self, number: int, stretch: Stretch, data: memoryview) -> None:
        """Compare the blocks that were read with their checksums."""
        full = len(data) // BLOCK_BYTES
        blocks = -(-len(data) // BLOCK_BYTES)
        expected = self._words[number][stretch.checksums : stretch.checksums + blocks].tolist()
        whole = full * BLOCK_BYTES
        # One checksum over all full blocks: each call gives the interpreter lock away and must
        # win it back, which costs more than the arithmetic.
        if zlib.crc32(data[:whole]) == crc32_of_blocks(expected[:full]) and (
            full == blocks or zlib.crc32(data[whole:]) == expected[full]
        ):
            return
        found = block_crc32(data).tolist()
        bad = next(block for block in range(blocks) if found[block] != expected[block])
        raise self._damaged(
            number,
            stretch.segment,
            offset=stretch.file_offset + bad * BLOCK_BYTES,
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
                    raise DamagedShardError(
                        f"{path.parent.name}/{path.name}",
                        found="no such shard",
                        expected="every shard that dataset.json names",
                        do="Copy it back, or convert the corpus again.",
                    ) from None
                except OSError as error:
                    raise DamagedShardError(
                        f"{path.parent.name}/{path.name}",
                        found=f"it cannot be opened ({error.strerror})",
                        expected="a file that this process may read",
                        do="Check its permissions, and the disk or server it lies on.",
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
