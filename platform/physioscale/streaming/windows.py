"""Windows enumerated per recording: which there are, and where each one lies.

A run is a gap-free stretch of a recording. Its windows start at multiples of the stride from the
run's first sample, whatever the segments it is stored in, so no window is lost at a cut; a stretch
shorter than a window at the end of a run gives none. Windows are numbered through shard sets,
recordings and runs; a *chunk* is a stretch of windows of one run that start in one shard, the unit
in which the order knows where samples lie.

All counts are of stored samples (before any load-time resampling).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.config import LoadConfig
from physioscale.errors import InputError
from physioscale.streaming.compact import CompactIndex, run_starts
from physioscale.streaming.load import load_margin, resampling_ratio
from physioscale.streaming.selection import StoredFilters, StreamRecording

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Bucket:
    """Windows of one shape, which can share a batch."""

    num_channels: int
    """C: channels that the model gets."""
    num_references: int
    """R: channels that are read only to be subtracted."""
    sampling_rate_hz: float
    stored: StoredFilters
    window_samples: int
    stride_samples: int
    grid_samples: int
    """Windows start at multiples of it, so that resampled samples fall on stored ones."""
    margin_samples: int
    """Extra samples on each side that the load pipeline needs."""

    def describe(self) -> str:
        """Return the shape for a person: `19 channels x 10 s at 500 Hz`."""
        length_s = self.window_samples / self.sampling_rate_hz
        return f"{self.num_channels} channels x {length_s:g} s at {self.sampling_rate_hz:g} Hz"


@dataclass(frozen=True)
class WindowTable:
    """All windows of a stream. R runs, K chunks, S shards (numbered through all sets)."""

    buckets: tuple[Bucket, ...]
    num_windows: int
    # Runs, (R,) each.
    run_recording: IntArray
    run_first_segment: IntArray
    run_segment_samples: IntArray
    """Samples of each segment of the run but its last, which may be shorter."""
    run_num_samples: IntArray
    run_start_sample: IntArray
    """First sample of the run, counted from the recording's first, gaps included."""
    run_bucket: IntArray
    run_first_window: IntArray
    # Chunks, (K,) each.
    chunk_first_window: IntArray
    chunk_num_windows: IntArray
    chunk_shard: IntArray
    chunk_bucket: IntArray
    chunk_set: IntArray
    """Number of the shard set."""
    num_shards: int
    num_sets: int
    hours: float
    """Total length of the windows (overlap counted twice)."""
    too_short: int
    """Runs that are shorter than a window."""

    def runs_of(self, windows: IntArray) -> IntArray:
        """Return the run of each window, (B,) -> (B,)."""
        return np.searchsorted(self.run_first_window, windows, side="right") - 1

    def onsets(self, windows: IntArray, *, uniform: NDArray[np.float32] | None) -> IntArray:
        """Return where windows of one bucket start, samples from their run's first, (B,).

        Args:
            windows: (B,) window numbers.
            uniform: (B,) in [0, 1): moves each window to a random place between its own start and
                that of the next one, as far as the run goes; None: the windows' own starts.
        """
        run = self.runs_of(windows)
        shape = self.buckets[int(self.run_bucket[run[0]])]
        own = (windows - self.run_first_window[run]) * shape.stride_samples
        if uniform is None:
            return own
        last = self.run_num_samples[run] - shape.window_samples
        places = np.minimum(last - own, shape.stride_samples - 1) // shape.grid_samples + 1
        moved: IntArray = (uniform.astype(np.float64) * places).astype(np.int64)
        return own + moved * shape.grid_samples

    def starts_s(self, windows: IntArray, *, onsets: IntArray) -> NDArray[np.float64]:
        """Return where windows of one bucket start, seconds from their recording's first sample."""
        run = self.runs_of(windows)
        rate = self.buckets[int(self.run_bucket[run[0]])].sampling_rate_hz
        starts: NDArray[np.float64] = (self.run_start_sample[run] + onsets) / rate
        return starts


def bucket_of(
    recording: StreamRecording, *, load: LoadConfig, window_s: float, stride_s: float
) -> Bucket:
    """Return the bucket of a recording's windows.

    Raises:
        InputError: window or stride is no whole number of samples at the recording's rate, or its
            starts would not fall on samples after resampling.
    """
    rate = recording.sampling_rate_hz
    up, down = resampling_ratio(load, rate)
    window = _whole_samples(window_s, rate, step=1, name="data.window_s")
    stride = _whole_samples(stride_s, rate, step=down, name="data.stride_s")
    if window * up % down:
        raise InputError(
            "data.window_s",
            found=f"{window_s:g} s, which is {window * up / down:g} samples after resampling",
            expected="a whole number of samples at load.sampling_rate_hz",
            do="Choose a multiple of 1 s.",
        )
    return Bucket(
        num_channels=len(recording.channel_names),
        num_references=recording.num_references,
        sampling_rate_hz=rate,
        stored=recording.stored,
        window_samples=window,
        stride_samples=stride,
        grid_samples=down,
        margin_samples=load_margin(load, rate, stored=recording.stored),
    )


def enumerate_windows(
    indexes: Sequence[CompactIndex],
    recordings: Sequence[StreamRecording],
    *,
    load: LoadConfig,
    window_s: float,
    stride_s: float,
) -> WindowTable:
    """Enumerate the windows of `recordings` over their shard sets."""
    buckets: dict[Bucket, int] = {}
    known: dict[tuple[int, int, float, StoredFilters], int] = {}
    of_recording = np.empty(len(recordings), dtype=np.int64)
    for row, recording in enumerate(recordings):
        shape = (
            len(recording.channel_names),
            recording.num_references,
            recording.sampling_rate_hz,
            recording.stored,
        )
        if shape not in known:
            bucket = bucket_of(recording, load=load, window_s=window_s, stride_s=stride_s)
            known[shape] = buckets.setdefault(bucket, len(buckets))
        of_recording[row] = known[shape]
    runs = _runs(indexes, recordings)
    return _table(tuple(buckets), of_recording, runs, indexes, recordings, window_s)


def _whole_samples(length_s: float, rate_hz: float, *, step: int, name: str) -> int:
    samples = length_s * rate_hz
    whole = round(samples)
    if whole < 1 or not math.isclose(samples, whole, rel_tol=0, abs_tol=1e-6) or whole % step:
        raise InputError(
            name,
            found=f"{length_s:g} s, which is {samples:g} samples at {rate_hz:g} Hz",
            expected=f"a multiple of {step} sample(s)",
            do="Choose a multiple of 1 s.",
        )
    return whole


def _runs(indexes: Sequence[CompactIndex], recordings: Sequence[StreamRecording]) -> IntArray:
    """Return (R, 6): recording of the stream, first segment, number of segments, samples, samples
    per segment, start sample in the recording."""
    found = []
    for number, index in enumerate(indexes):
        used = {r.row: place for place, r in enumerate(recordings) if r.shard_set == number}
        place = np.full(int(index.segments["recording"].max(initial=-1)) + 1, -1, dtype=np.int64)
        for row, value in used.items():
            if row < len(place):
                place[row] = value
        starts = run_starts(index.segments)
        first = starts[:-1]
        cumulative = np.concatenate(([0], np.cumsum(index.segments["num_times"], dtype=np.int64)))
        samples = cumulative[starts[1:]] - cumulative[first]
        recording = place[index.segments["recording"][first]]
        length = index.segments["num_times"][first]
        begin = index.segments["start_sample"][first]
        runs = np.stack([recording, first, starts[1:] - first, samples, length, begin], axis=1)
        found.append(runs[recording >= 0])
    return np.concatenate(found) if found else np.empty((0, 6), dtype=np.int64)


def _table(
    buckets: tuple[Bucket, ...],
    of_recording: IntArray,
    runs: IntArray,
    indexes: Sequence[CompactIndex],
    recordings: Sequence[StreamRecording],
    window_s: float,
) -> WindowTable:
    bucket = of_recording[runs[:, 0]]
    window = np.array([b.window_samples for b in buckets], dtype=np.int64)[bucket]
    stride = np.array([b.stride_samples for b in buckets], dtype=np.int64)[bucket]
    count = np.where(runs[:, 3] >= window, (runs[:, 3] - window) // stride + 1, 0)
    runs, bucket, stride, kept = runs[count > 0], bucket[count > 0], stride[count > 0], count
    count = count[count > 0]
    first_window = np.concatenate(([0], np.cumsum(count)))[:-1].astype(np.int64)
    chunks = _chunks(runs, bucket, stride, count, first_window, indexes, recordings)
    return WindowTable(
        buckets=buckets,
        num_windows=int(count.sum()),
        run_recording=runs[:, 0],
        run_first_segment=runs[:, 1],
        run_segment_samples=runs[:, 4],
        run_num_samples=runs[:, 3],
        run_start_sample=runs[:, 5],
        run_bucket=bucket,
        run_first_window=first_window,
        chunk_first_window=chunks[:, 0],
        chunk_num_windows=chunks[:, 1],
        chunk_shard=chunks[:, 2],
        chunk_bucket=chunks[:, 3],
        chunk_set=chunks[:, 4],
        num_shards=sum(len(index.shard_names) for index in indexes),
        num_sets=len(indexes),
        hours=float(count.sum()) * window_s / 3600,
        too_short=int((kept == 0).sum()),
    )


def _chunks(
    runs: IntArray,
    bucket: IntArray,
    stride: IntArray,
    count: IntArray,
    first_window: IntArray,
    indexes: Sequence[CompactIndex],
    recordings: Sequence[StreamRecording],
) -> IntArray:
    """Return (K, 5): first window, number of windows, shard (through all sets), bucket, set."""
    shard_base = np.concatenate(([0], np.cumsum([len(index.shard_names) for index in indexes])))
    chunks: list[tuple[int, int, int, int, int]] = []
    for place, (recording, first, segments) in enumerate(runs[:, :3].tolist()):
        number = recordings[recording].shard_set
        rows = indexes[number].segments[first : first + segments]
        shards = rows["shard"]
        # First sample (in the run) and shard of each stretch of segments in one shard.
        changes = np.concatenate(([0], np.flatnonzero(shards[1:] != shards[:-1]) + 1))
        begins = rows["start_sample"][changes] - rows["start_sample"][0]
        # Number of the first window that starts at or behind each stretch.
        windows = np.minimum(-(-begins // stride[place]), count[place])
        bounds = [*windows.tolist(), int(count[place])]
        chunks.extend(
            (
                int(first_window[place]) + low,
                high - low,
                int(shard_base[number] + shards[change]),
                int(bucket[place]),
                number,
            )
            for low, high, change in zip(bounds[:-1], bounds[1:], changes.tolist(), strict=True)
            if high > low
        )
    return np.array(chunks, dtype=np.int64).reshape(-1, 5)
