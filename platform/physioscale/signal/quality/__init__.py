"""Quality of EEG channels and segments: figures first, then a judgement by stated limits.

In:  digital samples (C, T) of one segment as the source stores them, before any filter, with the
     gain (C,) in V per step. Offsets do not matter.
Out: `ChannelFigures` (a figure per channel), `Verdict` (flags per channel, one for the segment) and
     named scalars for the index and the recordings table.

A segment's figures are independent of all others', so conversion keeps 5 numbers per channel and
segment and nothing else:

    figures = channel_figures(digital, gain_v=gain, sampling_rate_hz=256.0, limits=limits)
    verdict = judge(figures, limits=limits)
    index_row["quality"] = segment_quality(figures, verdict)

Letters in this package: C channels, T samples, W blocks, F frequencies, N samples of a block.
"""

from physioscale.signal.quality.amplitude import flat_share, saturated_share
from physioscale.signal.quality.figures import ChannelFigures, channel_figures
from physioscale.signal.quality.limits import QualityLimits, limit_problems
from physioscale.signal.quality.spectrum import (
    BlockSpectrum,
    SpectralFigures,
    block_spectrum,
    spectral_figures,
)
from physioscale.signal.quality.verdict import (
    Verdict,
    judge,
    recording_quality,
    robust_z,
    segment_quality,
)

__all__ = [
    "BlockSpectrum",
    "ChannelFigures",
    "QualityLimits",
    "SpectralFigures",
    "Verdict",
    "block_spectrum",
    "channel_figures",
    "flat_share",
    "judge",
    "limit_problems",
    "recording_quality",
    "robust_z",
    "saturated_share",
    "segment_quality",
    "spectral_figures",
]
