"""Statistics of a recording in the profile's bands, and of a corpus from its recordings.

In:  figures of the pass over a recording; or rows of `recordings.parquet`.
Out: mean and standard deviation per channel and band; per channel type and band for a corpus.

They are those of all that was read of a recording, segments that a profile leaves out included, as
accurate as `physioscale.signal.onepass` says. Recordings are pooled by their number of samples, as
if they were one signal: the variance is the mean of the variances plus the variance of the means.
Deviations are the population's.

Letters: C channels, R recordings.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.signal import BandStatistics
from physioscale.signal.onepass import RecordingFigures
from physioscale_sharding.conditioning import AS_STORED, band_kernel
from physioscale_sharding.profile import BandConfig

FloatArray = NDArray[np.float64]


def statistics_rows(
    figures: RecordingFigures, *, rate_hz: float, bands: Mapping[str, BandConfig]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the `statistics` of a recording's row, and notes on bands above its range.

    Args:
        figures: from the pass over the recording.
        rate_hz: stored rate.
        bands: those of the profile.
    """
    rows, notes = [], []
    for name, band in bands.items():
        _, open_top = band_kernel(rate_hz, band.low_hz, band.high_hz)
        if open_top:
            notes.append(
                f"band_up_to_nyquist: '{name}' ends at {band.high_hz:g} Hz; the recording ends at "
                f"{rate_hz / 2:g} Hz"
            )
        found = figures.bands.get(name, figures.bands[AS_STORED])
        rows.append(
            {
                "band": name,
                "low_hz": band.low_hz,
                "high_hz": band.high_hz,
                "mean": found.mean.tolist(),
                "std": found.std.tolist(),
            }
        )
    return rows, notes


def corpus_statistics(rows: Iterable[Mapping[str, Any]], *, band: str) -> dict[str, Any]:
    """Return the content of `statistics/<band>.json` from the training recordings' rows.

    Args:
        rows: rows of `recordings.parquet` with split "train", in any order.
        band: name of the band.
    """
    values: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    units: dict[str, str] = {}
    subjects = set()
    corners: dict[str, float | None] = {}
    count = 0
    for row in sorted(rows, key=lambda row: str(row["recording"])):
        facts = next(facts for facts in row["statistics"] if facts["band"] == band)
        corners = {"low_hz": facts["low_hz"], "high_hz": facts["high_hz"]}
        num_samples = row["duration_s"] * row["sampling_rate_hz"]
        for channel, mean, std in zip(row["channels"], facts["mean"], facts["std"], strict=True):
            kind = channel["type"]
            units[kind] = channel["unit"]
            values[kind].append((mean, std, num_samples))
        subjects.add(row["subject"])
        count += 1
    return {
        "band": band,
        **corners,
        "split": "train",
        "num_recordings": count,
        "num_subjects": len(subjects),
        "subjects_sha256": hashlib.sha256("\n".join(sorted(subjects)).encode()).hexdigest(),
        "channel_types": {kind: _pooled_type(values[kind], units[kind]) for kind in sorted(values)},
    }


def _pooled_type(values: Sequence[tuple[float, float, float]], unit: str) -> dict[str, Any]:
    means, stds, weights = (np.array(column) for column in zip(*values, strict=True))
    pooled = _pool(
        [BandStatistics(np.array([m]), np.array([s])) for m, s in zip(means, stds, strict=True)],
        weights,
    )
    return {
        "unit": unit,
        "num_channels": len(values),
        "num_samples": round(float(weights.sum())),
        "mean": float(pooled.mean[0]),
        "std": float(pooled.std[0]),
    }


def _pool(parts: Sequence[BandStatistics], weights: FloatArray) -> BandStatistics:
    """Return the statistics (C,) of all parts joined, weighted by their samples (R,)."""
    means = np.array([part.mean for part in parts])  # (R, C)
    variances = np.array([part.std for part in parts]) ** 2
    shares = (weights / weights.sum())[:, np.newaxis]
    mean = (shares * means).sum(axis=0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(axis=0)
    return BandStatistics(mean, np.sqrt(variance))
