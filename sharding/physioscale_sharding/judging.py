"""Quality of a recording's segments, from the source's own integers.

In:  digital samples (C, T) of each segment at the source rate, before any filter.
Out: figures for `index.parquet` and `recordings.parquet`, and whether a segment is usable.

The formulas are those of `physioscale.signal.quality`, the limits the profile's. They are made for
EEG in V: other channels are neither measured nor compared with, and have NaN in the recording's
row.

Letters: C channels, E EEG channels among them, T samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.signal.quality import (
    ChannelFigures,
    QualityLimits,
    Verdict,
    channel_figures,
    judge,
    recording_quality,
    segment_quality,
)
from physioscale_sharding.profile import JUDGED_TYPE
from physioscale_sharding.readers import DigitalArray
from physioscale_sharding.selection import Selection

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What was found in a segment's EEG channels."""

    figures: ChannelFigures
    verdict: Verdict

    def named(self) -> dict[str, float]:
        """Return the figures of `index.parquet`."""
        return segment_quality(self.figures, self.verdict)


class Judge:
    """Judges the segments of one recording."""

    def __init__(self, selection: Selection, *, limits: QualityLimits) -> None:
        types = [channel.type for channel in selection.channels]
        self._rows = np.array([kind == JUDGED_TYPE for kind in types])
        self._limits = limits
        self._rate_hz = selection.stream.sampling_rate_hz
        source = [c for c, wanted in zip(selection.source, self._rows, strict=True) if wanted]
        self._gain = selection.gain[self._rows]
        self._lowest = np.array([channel.digital_min for channel in source])
        self._highest = np.array([channel.digital_max for channel in source])

    def segment(self, digital: DigitalArray) -> Judged | None:
        """Return what is found in a segment (C, T), or None without EEG channels."""
        if not self._rows.any():
            return None
        figures = channel_figures(
            digital if self._rows.all() else digital[self._rows],
            gain_v=self._gain,
            sampling_rate_hz=self._rate_hz,
            limits=self._limits,
            lowest=self._lowest,
            highest=self._highest,
        )
        return Judged(figures, judge(figures, limits=self._limits))

    def recording(self, segments: Sequence[Judged | None]) -> list[dict[str, Any]]:
        """Return named values (C,) of `recordings.parquet`, from all segments in time order."""
        judged = [(one.figures, one.verdict) for one in segments if one is not None]
        named = recording_quality(judged) if judged else {}
        return [{"name": name, "values": self._spread(named[name])} for name in sorted(named)]

    def _spread(self, values: FloatArray) -> list[float]:
        """Return values (E,) at their places among all channels (C,), NaN elsewhere."""
        everywhere = np.full(len(self._rows), np.nan)
        everywhere[self._rows] = values
        return everywhere.tolist()
