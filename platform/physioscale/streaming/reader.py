"""Reading windows: one `pread` per stored stretch, every used block checked, decoded in place.

A window (with the load pipeline's margins) lies in one segment, or in neighbouring segments of one
run. Each stretch is read with one `pread`, widened to whole checksum blocks; int16 values become
float32 in the channels' unit and are placed into the batch as (C, T). Where a margin reaches past
the end of a run it is filled by MNE's edge rule: the signal reflected about its end value, zeros
beyond its length.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from physioscale.contract.blocks import BLOCK_BYTES, block_crc32
from physioscale.errors import InputError, MissingInputError
from physioscale.streaming.compact import CompactIndex
from physioscale.streaming.selection import StreamRecording
from physioscale.streaming.windows import WindowTable


class DamagedShardError(InputError):
    """Bytes of a shard are not those that were written."""


class WindowReader:
    """Reads windows of a stream into arrays; safe to call from several threads."""

    def __init__(
        self,
        indexes: Sequence[CompactIndex],
        recordings: Sequence[StreamRecording],
        table: WindowTable,
    ) -> None:
        self._indexes = indexes
        self._recordings = recordings
        self._table = table
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()

    def recording_of(self, window: int) -> int:
        """Return the stream's row of the recording that holds `window`."""
        run, _ = self._table.run_of(window)
        return int(self._table.run_recording[run])

    def start_s(self, window: int) -> float:
        """Return where a window starts, seconds from its recording's first sample."""
        run, number = self._table.run_of(window)
        recording = self._recordings[int(self._table.run_recording[run])]
        bucket = self._table.buckets[int(self._table.run_bucket[run])]
        segments = self._indexes[recording.shard_set].segments
        first = int(segments["start_sample"][self._table.run_first_segment[run]])
        return (first + number * bucket.stride_samples) / recording.sampling_rate_hz

    def read(self, window: int, out: NDArray[np.float32]) -> None:
        """Read a window with its margins into `out` (C, margin + T + margin) float32.

        Raises:
            DamagedShardError: a block's checksum differs, or the shard is too short.
            MissingInputError: the shard is not there.
        """
        run, number = self._table.run_of(window)
        recording = self._recordings[int(self._table.run_recording[run])]
        bucket = self._table.buckets[int(self._table.run_bucket[run])]
        index = self._indexes[recording.shard_set]
        first = int(self._table.run_first_segment[run])
        segments = index.segments[first : first + int(self._table.run_num_segments[run])]
        begin = number * bucket.stride_samples - bucket.margin_samples
        end = begin + out.shape[1]
        origin = int(segments["start_sample"][0])
        length = int(segments["start_sample"][-1] + segments["num_times"][-1]) - origin
        low, high = max(begin, 0), min(end, length)
        starts = segments["start_sample"] - origin
        place = int(np.searchsorted(starts, low, side="right")) - 1
        while low < high:
            start = int(starts[place])
            stop = min(high, start + int(segments["num_times"][place]))
            self._read_stretch(
                index,
                first + place,
                recording,
                rows=(low - start, stop - start),
                out=out[:, low - begin : stop - begin],
            )
            low, place = stop, place + 1
        _reflect(out, before=max(-begin, 0), behind=max(end - length, 0))

    def close(self) -> None:
        """Close the shards."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _read_stretch(
        self,
        index: CompactIndex,
        segment: int,
        recording: StreamRecording,
        *,
        rows: tuple[int, int],
        out: NDArray[np.float32],
    ) -> None:
        facts = index.segments[segment]
        dtype = np.dtype("<f4" if facts["is_float"] else "<i2")
        channels = recording.stored_channels
        row_bytes = channels * dtype.itemsize
        signal_bytes = int(facts["num_times"]) * row_bytes
        low, high = rows[0] * row_bytes, rows[1] * row_bytes
        first_block = low // BLOCK_BYTES
        last_block = -(-high // BLOCK_BYTES)
        block_low = first_block * BLOCK_BYTES
        data = self._pread(
            index,
            segment,
            int(facts["signal_offset"]) + block_low,
            min(last_block * BLOCK_BYTES, signal_bytes) - block_low,
        )
        words = int(facts["words"])
        expected = index.words[words + first_block : words + last_block]
        found = block_crc32(data)
        if not np.array_equal(found, expected):
            bad = int(np.flatnonzero(found != expected)[0])
            raise self._damaged(
                index,
                segment,
                offset=int(facts["signal_offset"]) + block_low + bad * BLOCK_BYTES,
                found=f"a block of {BLOCK_BYTES} bytes whose checksum differs",
            )
        stored = np.frombuffer(
            data, dtype, offset=low - block_low, count=(high - low) // dtype.itemsize
        )
        table = words + -(-signal_bytes // BLOCK_BYTES)
        scale = index.words[table : table + channels].view("<f4")[recording.columns]
        offset = index.words[table + channels : table + 2 * channels].view("<f4")
        picked = stored.reshape(-1, channels).T[recording.columns]
        np.multiply(picked, scale[:, None], out=out, casting="same_kind", dtype=np.float32)
        out += offset[recording.columns][:, None]

    def _pread(self, index: CompactIndex, segment: int, offset: int, size: int) -> bytes:
        path = index.folder / index.shard_names[int(index.segments["shard"][segment])]
        data = os.pread(self._open(path), size, offset)
        if len(data) != size:
            raise self._damaged(
                index, segment, offset=offset, found=f"{len(data)} bytes where {size} should stand"
            )
        return data

    def _open(self, path: Path) -> int:
        with self._lock:
            if path not in self._files:
                try:
                    self._files[path] = os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    raise MissingInputError(
                        f"{path.parent.name}/{path.name}",
                        found="no such shard",
                        expected="every shard that dataset.json names",
                        do="Copy it back, or convert the corpus again.",
                    ) from None
            return self._files[path]

    def _damaged(
        self, index: CompactIndex, segment: int, *, offset: int, found: str
    ) -> DamagedShardError:
        facts = index.segments[segment]
        number = segment - int(np.searchsorted(index.segments["recording"], facts["recording"]))
        named = next(
            r.recording
            for r in self._recordings
            if r.row == int(facts["recording"]) and self._indexes[r.shard_set] is index
        )
        return DamagedShardError(
            f"{index.folder.name}/{index.shard_names[int(facts['shard'])]}, byte {offset}, "
            f"recording {named!r}, segment {number}",
            found=found,
            expected="the bytes that were written",
            do="Run `physioscale verify` on the folder; copy the shard back or convert again.",
        )


def _reflect(out: NDArray[np.float32], *, before: int, behind: int) -> None:
    """Fill `before` and `behind` columns of (C, T) at the ends by odd reflection, in place."""
    present = out.shape[1] - before - behind
    if before:
        count = min(before, present - 1)
        edge = out[:, before, None]
        out[:, : before - count] = 0
        out[:, before - count : before] = 2 * edge - out[:, before + count : before : -1]
    if behind:
        last = before + present - 1
        count = min(behind, present - 1)
        edge = out[:, last, None]
        mirrored = out[:, last - count : last][:, ::-1]
        out[:, last + 1 : last + 1 + count] = 2 * edge - mirrored
        out[:, last + 1 + count :] = 0
