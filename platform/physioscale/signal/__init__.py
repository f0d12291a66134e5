"""Signal processing without state: numpy in and out, (channels, times), float64.

`physioscale.signal.device` holds the twins for batches of tensors; it is imported by its own name,
so that conversion does not load torch.
"""

from physioscale.signal.filters import (
    apply_fir,
    convolve_valid,
    extend_edges,
    fir_kernel,
    margin_samples,
    notch_kernel,
)
from physioscale.signal.resampling import (
    aligned_start,
    decimation_for,
    num_resampled,
    num_resampling_taps,
    rational_ratio,
    resample,
    resample_margin_samples,
    resample_valid,
    resampling_kernel,
)
from physioscale.signal.statistics import BandStatistics, band_statistics, robust_std

__all__ = [
    "BandStatistics",
    "aligned_start",
    "apply_fir",
    "band_statistics",
    "convolve_valid",
    "decimation_for",
    "extend_edges",
    "fir_kernel",
    "margin_samples",
    "notch_kernel",
    "num_resampled",
    "num_resampling_taps",
    "rational_ratio",
    "resample",
    "resample_margin_samples",
    "resample_valid",
    "resampling_kernel",
    "robust_std",
]
