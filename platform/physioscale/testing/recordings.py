"""Made-up recordings, as a shard set stores them and as a reader must return them.

In:  a `SyntheticRecording`, a seed.
Out: its segments (meta, and stored (T, C) int16 or float32) and a `StoredRecording` with the
     decoded (T, C) float32 samples in V.

The value of one int16 step is a power of two, so decoding is exact in float32 whatever the order of
operations. Band statistics are those of an ideal band-pass and differ by a few per cent from a real
filter's.

Letters: C channels, T samples.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import Channel, SegmentMeta, decode, encode_int16
from physioscale.testing.signals import generate_eeg, spread_positions

Bands = Mapping[str, tuple[float | None, float | None]]
"""Name of a band -> (low, high) in Hz; None: open."""
Segment = tuple[SegmentMeta, NDArray[Any]]

HEAD_RADIUS_M = 0.09
BURST_V = 0.05
# The rule of the contract: one step is at most 1 % of the channel's robust standard deviation.
_STEP_SHARE = 0.01


@dataclass(frozen=True)
class SyntheticRecording:
    """One recording to make up; its name is `<subject>_<task>`."""

    subject: str
    split: str = "train"
    task: str = "eyesopen"
    """`eyesclosed` gets strong alpha and no blinks; every other name gets blinks."""
    num_channels: int = 8
    sampling_rate_hz: float = 250.0
    run_s: tuple[float, ...] = (60.0,)
    """Lengths of the stretches between gaps (s)."""
    gap_s: float = 5.0
    """Length of each gap (s)."""
    unplaced: int = 0
    """Number of last channels without a position."""
    burst_at_s: float | None = None
    """A burst of 50 mV in the first channel, this long after the start; no int16 step fits it."""
    labels: Mapping[str, str | float | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name in the tables."""
        return f"{self.subject}_{self.task}"


@dataclass(frozen=True)
class StoredRecording:
    """A recording as a reader must return it."""

    spec: SyntheticRecording
    starts: tuple[int, ...]
    """First sample of each run, gaps counted."""
    runs: tuple[NDArray[np.float32], ...]
    """Decoded samples of each run, (T, C) V."""
    positions_m: NDArray[np.float32]
    """(C, 3), NaN where unknown."""
    statistics: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    """Per band: mean (C,) and standard deviation (C,), V."""


def synthetic_recordings(
    num_subjects: int = 6,
    *,
    tasks: Sequence[str] = ("eyesopen", "eyesclosed"),
    num_val: int = 1,
    num_test: int = 1,
    num_channels: int = 8,
    sampling_rate_hz: float = 250.0,
    duration_s: float = 60.0,
) -> list[SyntheticRecording]:
    """Return a recording of each task for each subject; the last subjects are val, then test."""
    num_train = num_subjects - num_val - num_test
    splits = ["train"] * num_train + ["val"] * num_val + ["test"] * num_test
    return [
        SyntheticRecording(
            f"sub-{number:03d}",
            split=split,
            task=task,
            num_channels=num_channels,
            sampling_rate_hz=sampling_rate_hz,
            run_s=(duration_s,),
            labels={"age": 20.0 + number, "state": task},
        )
        for number, split in enumerate(splits, start=1)
        for task in tasks
    ]


def make_recording(
    spec: SyntheticRecording, *, corpus: str, seed: int, segment_s: float, dtype: str, bands: Bands
) -> tuple[StoredRecording, list[Segment]]:
    """Generate a recording, cut it into segments of at most `segment_s` and store them."""
    rate = spec.sampling_rate_hz
    sphere = spread_positions(spec.num_channels)
    positions_m = (HEAD_RADIUS_M * sphere).astype(np.float32)
    positions_m[spec.num_channels - spec.unplaced :] = np.nan
    signal = _generate(spec, sphere, seed=seed)
    step_v = _steps(signal)
    starts: list[int] = []
    runs: list[NDArray[np.float32]] = []
    segments: list[Segment] = []
    for run, length_s in enumerate(spec.run_s):
        start = round(sum(spec.run_s[:run]) * rate) + run * round(spec.gap_s * rate)
        taken = sum(len(done) for done in runs)
        values = signal[taken : taken + round(length_s * rate)]
        decoded = []
        for begin in range(0, len(values), round(segment_s * rate)):
            stored, scale = _encode(values[begin : begin + round(segment_s * rate)], step_v, dtype)
            place = {"segment": len(segments), "run": run, "start_sample": start + begin}
            meta = _meta(spec, corpus, positions_m, stored, scale=scale, place=place)
            segments.append((meta, stored))
            zero = np.zeros(spec.num_channels, dtype=np.float32)
            decoded.append(decode(stored, scale=scale.astype(np.float32), offset=zero))
        starts.append(start)
        runs.append(np.concatenate(decoded))
    statistics = _statistics(np.concatenate(runs).astype(np.float64), rate, bands)
    return StoredRecording(spec, tuple(starts), tuple(runs), positions_m, statistics), segments


def _generate(
    spec: SyntheticRecording, sphere: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """Return (T, C) V: the samples of all runs, without the gaps."""
    digest = hashlib.sha256(f"{seed}:{spec.name}".encode()).digest()
    rate = spec.sampling_rate_hz
    num_times = sum(round(length * rate) for length in spec.run_s)
    signal = generate_eeg(
        sphere,
        duration_s=num_times / rate,
        sampling_rate_hz=rate,
        seed=int.from_bytes(digest[:4], "little"),
        eyes_closed=spec.task == "eyesclosed",
    )
    values: NDArray[np.float64] = np.ascontiguousarray(signal.T) * 1e-6
    if spec.burst_at_s is not None:
        values[round(spec.burst_at_s * rate), 0] = BURST_V
    return values


def _steps(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (C,) V: the largest power of two below 1 % of the robust standard deviation."""
    robust = 1.4826 * np.median(np.abs(signal - np.median(signal, axis=0)), axis=0)
    steps: NDArray[np.float64] = 2.0 ** np.floor(np.log2(_STEP_SHARE * robust))
    return steps


def _encode(
    values: NDArray[np.float64], step_v: NDArray[np.float64], dtype: str
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return stored (T, C) numbers and their scale (C,)."""
    whole = encode_int16(values, scale=step_v) if dtype == "int16" else None
    if whole is not None:
        return whole, step_v
    return values.astype("<f4"), np.ones_like(step_v)


def _meta(
    spec: SyntheticRecording,
    corpus: str,
    positions_m: NDArray[np.float32],
    stored: NDArray[Any],
    *,
    scale: NDArray[np.float64],
    place: Mapping[str, int],
) -> SegmentMeta:
    return SegmentMeta(
        key=f"{corpus}_{spec.name}_{place['segment']:04d}",
        corpus=corpus,
        subject=spec.subject,
        recording=spec.name,
        split=spec.split,
        segment=place["segment"],
        run=place["run"],
        start_sample=place["start_sample"],
        num_times=len(stored),
        sampling_rate_hz=spec.sampling_rate_hz,
        channels=_channels(positions_m),
        dtype=stored.dtype.name,
        scale=tuple(scale.tolist()),
        offset=(0.0,) * len(scale),
        task=spec.task,
        reference="synthetic",
        position_frame="head",
    )


def _channels(positions_m: NDArray[np.float32]) -> tuple[Channel, ...]:
    channels = []
    for number, (x, y, z) in enumerate(positions_m.tolist(), start=1):
        place = None if np.isnan(x) else (x, y, z)
        channels.append(Channel(f"E{number}", type="eeg", unit="V", position_m=place))
    return tuple(channels)


def _statistics(
    signal: NDArray[np.float64], rate_hz: float, bands: Bands
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return per band the mean (C,) and deviation (C,) of (T, C) behind an ideal band-pass."""
    spectrum = np.fft.rfft(signal, axis=0)
    frequency = np.fft.rfftfreq(len(signal), 1 / rate_hz)
    statistics = {}
    for name, (low_hz, high_hz) in bands.items():
        inside = (frequency >= (low_hz or 0.0)) & (frequency <= (high_hz or np.inf))
        passed = np.fft.irfft(spectrum * inside[:, None], n=len(signal), axis=0)
        statistics[name] = (passed.mean(axis=0), passed.std(axis=0))
    return statistics
