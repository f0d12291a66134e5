"""Quality figures: planted faults are found, clean channels are left alone, formulas hold.

The counts here are small; `python tests/platform/test_signal_quality.py 300` prints those of 300
generated recordings.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.signal.quality import (
    ChannelFigures,
    QualityLimits,
    Verdict,
    channel_figures,
    judge,
)
from physioscale.testing import generate_eeg, spread_positions

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LIMITS = QualityLimits()
KINDS = ("ordinary", "low", "delta", "focal delta")
# Quantisation: LSB in uV, bits. "coarse" is that of old 12-bit recorders.
CONVERTERS = {"fine": (0.2, 16), "coarse": (1.0, 16), "24 bit": (0.03125, 24)}
# Channels, rate, duration: few and many, slow and fast, whole segments and short last ones.
SHAPES = (
    (1, 128.0, 60.0),
    (2, 256.0, 60.0),
    (3, 200.0, 2.0),
    (4, 500.0, 60.0),
    (8, 512.0, 20.0),
    (19, 256.0, 60.0),
    (19, 1000.0, 3.0),
    (32, 160.0, 60.0),
    (32, 1024.0, 1.0),
    (64, 128.0, 60.0),
    (64, 250.0, 5.0),
    (1, 250.0, 1.0),
)


@dataclass(frozen=True)
class Segment:
    """Generated EEG and the converter it shall go through."""

    signal_uv: FloatArray
    rate_hz: float
    line_hz: float
    lsb_uv: float
    num_bits: int
    offset_uv: float


@lru_cache(maxsize=32)
def clean(seed: int) -> Segment:
    """Return a clean segment: shapes take turns, all else is drawn."""
    rng = np.random.default_rng(seed)
    num_channels, rate_hz, duration_s = SHAPES[seed % len(SHAPES)]
    kind = str(rng.choice(KINDS))
    lsb_uv, num_bits = CONVERTERS[str(rng.choice(list(CONVERTERS)))]
    line_hz = float(rng.choice([50.0, 60.0]))
    level_uv = 3.0 if kind == "low" else 12.0
    signal_uv = generate_eeg(
        spread_positions(num_channels),
        duration_s=duration_s,
        sampling_rate_hz=rate_hz,
        seed=seed,
        eyes_closed=bool(rng.integers(2)),
        background_uv=level_uv,
        alpha_uv=1.5 * level_uv,
        line_hz=line_hz,
        line_uv=1.0,
    )
    if "delta" in kind:
        time_s = np.arange(signal_uv.shape[1]) / rate_hz
        wave = np.sin(2.0 * np.pi * rng.uniform(0.7, 2.5) * time_s + np.sin(0.7 * time_s))
        reach = num_channels if kind == "delta" else max(num_channels // 5, 1)
        signal_uv[:reach] += 150.0 * (1.0 + 0.5 * np.sin(0.3 * time_s)) * wave
    offset_uv = -20e3 if num_bits == 24 else 0.0
    return Segment(signal_uv, rate_hz, line_hz, lsb_uv, num_bits, offset_uv)


def band_noise(segment: Segment, *, low_hz: float, high_hz: float, seed: int) -> FloatArray:
    """Return noise (T,) of unit rms between two frequencies."""
    num_times = segment.signal_uv.shape[1]
    frequency = np.fft.rfftfreq(num_times, 1.0 / segment.rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(num_times))
    noise = np.fft.irfft(spectrum * ((frequency >= low_hz) & (frequency <= high_hz)), num_times)
    return np.asarray(noise / noise.std(), dtype=np.float64)


def flat(channel: FloatArray, segment: Segment) -> FloatArray:
    """Return one value."""
    return np.full_like(channel, channel[0])


def dead(channel: FloatArray, segment: Segment) -> FloatArray:
    """Return an open input of a good amplifier: 0.05 uV rms."""
    noise = np.random.default_rng(0).standard_normal(len(channel))
    return np.asarray(channel.mean() + 0.05 * noise, dtype=np.float64)


def hiss(channel: FloatArray, segment: Segment) -> FloatArray:
    """Add 25 uV rms from 30 Hz up; 50 uV where there are no other channels to compare with."""
    noise = band_noise(segment, low_hz=30.0, high_hz=0.45 * segment.rate_hz, seed=1)
    return channel + (25.0 if len(segment.signal_uv) > 2 else 50.0) * noise


def muscle(channel: FloatArray, segment: Segment) -> FloatArray:
    """Add 30 uV rms from 20 to 150 Hz; 70 uV where there are no other channels."""
    noise = band_noise(segment, low_hz=20.0, high_hz=min(150.0, 0.45 * segment.rate_hz), seed=2)
    return channel + (30.0 if len(segment.signal_uv) > 2 else 70.0) * noise


def swing(channel: FloatArray, segment: Segment) -> FloatArray:
    """Add an electrode that moves: 1000 uV rms from 2 to 6 Hz."""
    return channel + 1000.0 * band_noise(segment, low_hz=2.0, high_hz=6.0, seed=3)


def gain(channel: FloatArray, segment: Segment) -> FloatArray:
    """Return the channel 10 times as large as it should be."""
    return 10.0 * channel


def hum(channel: FloatArray, segment: Segment) -> FloatArray:
    """Add line noise of 1.5 times the channel's own standard deviation."""
    time_s = np.arange(len(channel)) / segment.rate_hz
    wave = np.sin(2.0 * np.pi * segment.line_hz * time_s)
    return np.asarray(channel + 1.5 * np.sqrt(2.0) * channel.std() * wave, dtype=np.float64)


def clipped(channel: FloatArray, segment: Segment) -> FloatArray:
    """Cut 1 % of the samples, at least 0.6 s, half of them above and half below."""
    share = max(0.01, 0.6 * segment.rate_hz / len(channel))
    low_uv, high_uv = np.quantile(channel, [share / 2, 1.0 - share / 2])
    return np.asarray(np.clip(channel, low_uv, high_uv), dtype=np.float64)


def clipped_above(channel: FloatArray, segment: Segment) -> FloatArray:
    """Cut 1 % of the samples, at least 0.6 s, above."""
    share = max(0.01, 0.6 * segment.rate_hz / len(channel))
    return np.minimum(channel, np.quantile(channel, 1.0 - share))


def clipped_at_end(channel: FloatArray, segment: Segment) -> FloatArray:
    """Cut as `clipped` does, where the converter's declared range ends."""
    return clipped(channel, segment)


Fault = Callable[[FloatArray, Segment], FloatArray]
FAULTS: dict[Fault, str] = {
    flat: "flat",
    dead: "flat",
    hiss: "noisy",
    muscle: "noisy",
    swing: "noisy",
    gain: "noisy",
    hum: "line_dominated",
    clipped: "saturated",
    clipped_above: "saturated",
    clipped_at_end: "saturated",
}
LASTING = (flat, dead, hiss, muscle, swing, hum)


def measure(
    signal_uv: FloatArray, segment: Segment, *, at_end: BoolArray | None = None
) -> tuple[ChannelFigures, Verdict]:
    """Return figures and verdict of a signal after the segment's converter.

    The range of the channels `at_end` ends at their own extreme values.
    """
    least, most = -(1 << (segment.num_bits - 1)), (1 << (segment.num_bits - 1)) - 1
    steps = np.round((signal_uv + segment.offset_uv) / segment.lsb_uv)
    digital = np.clip(steps, least, most).astype(np.int16 if segment.num_bits == 16 else np.int32)
    lowest, highest = np.full(len(digital), least), np.full(len(digital), most)
    if at_end is not None:
        lowest[at_end], highest[at_end] = digital[at_end].min(axis=1), digital[at_end].max(axis=1)
    figures = channel_figures(
        digital,
        gain_v=np.full(len(digital), segment.lsb_uv * 1e-6),
        sampling_rate_hz=segment.rate_hz,
        limits=LIMITS,
        lowest=lowest,
        highest=highest,
    )
    return figures, judge(figures, limits=LIMITS)


def plant(fault: Fault, seed: int, *, share: float = 1.0) -> Counter[str]:
    """Plant a fault in a fifth of the channels, for a share of the time, and count."""
    segment = clean(seed)
    num_channels, num_times = segment.signal_uv.shape
    # Nobody can tell a gain from another head; and a third of a short segment is no 0.5 s.
    if (fault is gain and num_channels < 3) or (share < 1 and num_times < 20 * segment.rate_hz):
        return Counter()
    rng = np.random.default_rng(seed)
    planted = np.zeros(num_channels, dtype=bool)
    planted[rng.choice(num_channels, size=max(num_channels // 5, 1), replace=False)] = True
    length = round(share * num_times)
    start = int(rng.integers(num_times - length + 1))
    signal_uv = segment.signal_uv.copy()
    for channel in np.flatnonzero(planted):
        faulty = fault(signal_uv[channel], segment)
        signal_uv[channel, start : start + length] = faulty[start : start + length]
    _, verdict = measure(signal_uv, segment, at_end=planted if fault is clipped_at_end else None)
    found = getattr(verdict, FAULTS[fault])[planted]
    return Counter(
        planted=int(planted.sum()),
        found=int(found.sum()),
        clean=int((~planted).sum()),
        false=int(verdict.bad[~planted].sum()),
    )


def total(counts: Iterable[Counter[str]]) -> Counter[str]:
    """Return the sum, zeros included."""
    return sum(counts, Counter())


def experiments() -> Iterator[tuple[Fault, float]]:
    """Yield each fault with the shares of the time it is planted for."""
    for fault in FAULTS:
        yield fault, 1.0
        if fault in LASTING:
            yield fault, 1.0 / 3.0


@pytest.mark.parametrize(("fault", "share"), list(experiments()))
def test_planted_faults_are_found_and_their_neighbours_left_alone(
    fault: Fault, share: float
) -> None:
    counts = total(plant(fault, seed, share=share) for seed in range(24))
    assert counts["planted"] >= 50
    assert counts["found"] >= 0.95 * counts["planted"], counts
    assert counts["false"] <= 0.01 * counts["clean"], counts


def test_clean_channels_are_not_flagged() -> None:
    verdicts = [measure(clean(seed).signal_uv, clean(seed))[1] for seed in range(24)]
    num_channels = sum(len(verdict.bad) for verdict in verdicts)
    assert num_channels >= 400
    assert sum(int(verdict.bad.sum()) for verdict in verdicts) <= 0.01 * num_channels
    assert all(verdict.usable for verdict in verdicts)


def report(num_recordings: int) -> None:
    """Print the counts of many generated recordings."""
    counts: dict[str, Counter[str]] = {}
    for seed in range(num_recordings):
        _, verdict = measure(clean(seed).signal_uv, clean(seed))
        row = Counter(clean=len(verdict.bad), false=int(verdict.bad.sum()))
        counts["none"] = counts.get("none", Counter()) + row
        for fault, share in experiments():
            name = f"{fault.__name__}, {share:.0%} of the time"
            counts[name] = counts.get(name, Counter()) + plant(fault, seed, share=share)
    print(f"{'fault':32} {'found':>8} {'of':>8} {'share':>8} {'false':>8} {'of':>8}")
    for name, row in counts.items():
        share = row["found"] / row["planted"] if row["planted"] else float("nan")
        columns = f"{row['found']:8} {row['planted']:8} {share:8.4f}"
        print(f"{name:32} {columns} {row['false']:8} {row['clean']:8}")


if __name__ == "__main__":
    report(int(sys.argv[1]))
