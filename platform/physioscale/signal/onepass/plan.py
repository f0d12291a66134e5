"""What one pass does to every block, worked out once for a rate, its filters and its bands.

In:  FIR kernels (K,) at the source rate, the ratio up / down, band kernels (K,) at the stored rate.
Out: a `OnePassPlan`: block lengths, and the product of all responses at the bins of a block's FFT.

A block of N source samples becomes M = N * up / down stored samples; `folding` says how.

Two things are left out. Images above 1.1 of the lower Nyquist frequency, which the resampling
kernel passes at -100 dB and less: that is the largest difference from `resample`, 5e-6 of white
noise at most. And the outermost taps of a high-pass joined with a notch: either is long for a band
that the other passes or stops as a whole, so the joined kernel is little longer than the longest,
and blocks overlap less.

Letters: N source samples and M stored samples of a block, K kernel samples, Q bins of H.
Source: overlap-save convolution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from physioscale.signal.filters import margin_samples
from physioscale.signal.onepass.folding import Piece, RealArray, RealType, fold_pieces
from physioscale.signal.resampling import (
    num_resampling_taps,
    resample_margin_samples,
    resampling_kernel,
)

FloatArray = NDArray[np.float64]

# Blocks begin on multiples of so many periods of the ratio, so that bands can be kept at an eighth
# of the stored rate.
_MOST_DECIMATION = 8
# Four rows of 2^15 float32 samples and their spectra fill 1 MB; beyond it the FFT runs out of the
# second-level cache. Measured: 1.5 ns per sample up to 2^15, 2.1 at 2^16, 4.0 at 2^17.
_CACHED_BLOCK = 1 << 15
_LARGEST_BLOCK = 1 << 20
# The resampling kernel stops from here on (in lower Nyquist frequencies).
_STOP_BAND = 1.1
# Share of a band's power response that may lie above the reduced rate's Nyquist frequency.
_LARGEST_LOSS = 1e-5
# Share of a joined kernel's norm that its outermost taps may hold together: as much as float32.
_LARGEST_TAIL = 3e-7
# MNE's high-pass and band-pass kernels have a gain of 1e-16 at 0 Hz.
_SMALLEST_DC_GAIN = 1e-9


@dataclass(frozen=True)
class BandPlan:
    """A named band, from the folded spectrum of a block."""

    kernel: FloatArray | None
    """(K,) at the stored rate; None: the stored signal itself."""
    decimation: int
    """The band is evaluated at every so many stored samples; its power is all there."""
    response: RealArray
    dc_gain: float


@dataclass(frozen=True)
class OnePassPlan:
    """How blocks are cut and what is done to them."""

    up: int
    down: int
    kernels: tuple[FloatArray, ...]
    bands: Mapping[str, BandPlan]
    margin: int
    """Source samples that all filters and bands together look at on each side, one behind the
    other; a run of no more samples has ends that meet."""
    lead: int
    """Source samples of a block in front of its first output."""
    block: int
    """N"""
    step: int
    """Source samples from one block to the next."""
    pieces: tuple[Piece, ...]
    dc_gain: float
    """Of the stored signal; exactly 0 behind a high-pass."""
    dtype: RealType

    @property
    def stored_block(self) -> int:
        """M"""
        return self.block // self.down * self.up

    @property
    def stored_lead(self) -> int:
        """Stored samples of a block in front of its first output."""
        return self.lead // self.down * self.up

    @property
    def stored_step(self) -> int:
        """Outputs of a block."""
        return self.step // self.down * self.up

    @property
    def is_identity(self) -> bool:
        """Whether the stored signal is the source as it is."""
        return not self.kernels and self.up == self.down


def plan_one_pass(
    kernels: Sequence[FloatArray],
    *,
    up: int,
    down: int,
    bands: Mapping[str, FloatArray | None] | None = None,
    dtype: RealType = np.float32,
) -> OnePassPlan:
    """Return the plan of `apply_fir` with each kernel, then `resample`, then statistics per band.

    Args:
        kernels: (K,) odd and symmetric, at the source rate, in any order; none is allowed.
        up: numerator of the reduced ratio of rates.
        down: its denominator.
        bands: name -> (K,) odd and symmetric kernel at the stored rate, or None for the stored
            signal itself.
        dtype: of the arithmetic and of the stored values.

    Raises:
        ValueError: a kernel of even length, or a ratio that is not reduced.
    """
    bands = bands or {}
    joined = _joined(kernels)
    band_margins = [margin_samples(kernel) for kernel in bands.values() if kernel is not None]
    beside = resample_margin_samples(up=up, down=down)
    beside += -(-max(band_margins, default=0) * down // up)
    reach = margin_samples(joined) + beside
    unit = _MOST_DECIMATION * down
    lead = -(-reach // unit) * unit
    block = _block_length(lead + reach, unit=unit, up=up, down=down)
    response = _response(joined, up=up, down=down, block=block)
    dc_gain = float(np.prod([kernel.sum() for kernel in kernels]))
    stored_block = block // down * up
    return OnePassPlan(
        up=up,
        down=down,
        kernels=tuple(kernels),
        bands={name: _band(kernel, stored_block, dtype) for name, kernel in bands.items()},
        margin=sum(margin_samples(kernel) for kernel in kernels) + beside,
        lead=lead,
        block=block,
        step=(block - lead - reach) // unit * unit,
        pieces=tuple(
            fold_pieces(response / down, block=block, stored_block=stored_block, dtype=dtype)
        ),
        dc_gain=dc_gain if abs(dc_gain) > _SMALLEST_DC_GAIN else 0.0,
        dtype=dtype,
    )


def _joined(kernels: Sequence[FloatArray]) -> FloatArray:
    """Return one kernel (K,) for all, without outermost taps that do not count."""
    joined = np.ones(1)
    for kernel in kernels:
        length = int(fft.next_fast_len(len(joined) + len(kernel) - 1, real=True))
        product = fft.rfft(joined, length) * fft.rfft(kernel, length)
        joined = fft.irfft(product, length)[: len(joined) + len(kernel) - 1]
    # Both ends are cut alike, and the middle one stays.
    energy = joined[: len(joined) // 2] ** 2
    limit = _LARGEST_TAIL**2 * np.sum(joined**2) / 2
    cut = int(np.searchsorted(np.cumsum(energy), limit))
    return np.asarray(joined[cut : len(joined) - cut], dtype=np.float64)


def _block_length(overlap: int, *, unit: int, up: int, down: int) -> int:
    """Return the N with the least work per output sample."""
    costs: dict[int, float] = {}
    count = 0
    while not costs or count * unit < max(_LARGEST_BLOCK, 4 * overlap):
        # Lengths with small prime factors only, each about an eighth above the one before.
        count = int(fft.next_fast_len(max(count + 1, count * 9 // 8), real=True))
        block = count * unit
        step = (block - overlap) // unit * unit
        if step > 0:
            costs[block] = (_work(block) + _work(block // down * up)) / step
    return min(costs, key=lambda block: costs[block])


def _work(length: int) -> float:
    """Return what an FFT of that length costs, in units that only compare lengths."""
    beyond_cache = max(0.0, float(np.log2(length / _CACHED_BLOCK)))
    return length * float(np.log2(length)) * (1.0 + 0.35 * beyond_cache**2)


def _response(kernel: FloatArray, *, up: int, down: int, block: int) -> FloatArray:
    """Return H (Q,) at the bins of a block's FFT, images included."""
    lower = min(block, block // down * up)
    reach = max(block // 2, int(np.ceil(_STOP_BAND * lower / 2)))
    num_bins = min(reach, block * up // 2) + 1
    bins = np.arange(num_bins)
    filters = zero_phase_response(kernel, block)
    response: FloatArray = filters[np.where(bins <= block // 2, bins, block - bins)]
    if num_resampling_taps(up=up, down=down) > 1:
        response *= _resampling_response(up=up, down=down, block=block, num_bins=num_bins)
    return response


def zero_phase_response(kernel: FloatArray, length: int) -> FloatArray:
    """Return (length // 2 + 1,): the real response of an odd, symmetric kernel (K,)."""
    margin = margin_samples(kernel)
    # Centred on sample 0. A kernel longer than the FFT wraps, which samples its response exactly.
    centred = np.zeros(length)
    np.add.at(centred, np.arange(-margin, margin + 1) % length, kernel)
    return np.asarray(fft.rfft(centred, workers=1).real, dtype=np.float64)


def _resampling_response(*, up: int, down: int, block: int, num_bins: int) -> FloatArray:
    """Return the first (num_bins,) of the response at the bins of an FFT of block * up samples."""
    # Loaded here: scipy.signal takes most of a second, and conversion without a new rate has no
    # use for it. The FFT itself would need up to gigabytes for ratios of large numbers.
    from scipy.signal import ZoomFFT

    kernel = resampling_kernel(up=up, down=down)
    length = block * up
    zoom = ZoomFFT(len(kernel), [0, num_bins / length], m=num_bins, fs=1)
    turns = np.arange(num_bins) * (len(kernel) // 2) % length / length
    return np.asarray((zoom(kernel) * np.exp(2j * np.pi * turns)).real, dtype=np.float64)


def _band(kernel: FloatArray | None, stored_block: int, dtype: RealType) -> BandPlan:
    if kernel is None:
        return BandPlan(None, 1, np.ones(0, dtype=dtype), 1.0)
    response = zero_phase_response(kernel, stored_block)
    power = np.cumsum(response**2)
    decimation = _MOST_DECIMATION
    while decimation > 1:
        top = stored_block // (2 * decimation)
        if power[-1] - power[top] <= _LARGEST_LOSS * power[-1]:
            break
        decimation //= 2
    top = stored_block // (2 * decimation)
    kept: RealArray = (response[: top + 1] / decimation).astype(dtype)
    dc_gain = float(response[0])
    return BandPlan(kernel, decimation, kept, dc_gain if abs(dc_gain) > _SMALLEST_DC_GAIN else 0.0)
