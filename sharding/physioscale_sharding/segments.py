"""Where a gap-free run is cut into segments, and how many bytes they will take.

In:  the number of samples of a run at the stored rate.
Out: [start, stop) of each segment in the run, at the stored rate and in the source; the estimate of
     bytes in a shard.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from physioscale_sharding.profile import MIN_SEGMENT_S

_TAR_BLOCK = 512
_MEMBERS = 3
_NPY_HEADER_BYTES = 128
_CRC_SHARE = 4 / 16384
# JSON around and per channel: names, position, scale and offset.
_META_BYTES, _META_BYTES_PER_CHANNEL = 600, 200


@dataclass(frozen=True)
class Cut:
    """The segments of one run."""

    bounds: tuple[tuple[int, int], ...]
    """[start, stop) of each segment, samples of the run."""
    rest: int
    """Samples at the end that are too few for a segment."""

    def source_bounds(self, num_samples: int, *, up: int, down: int) -> list[tuple[int, int]]:
        """Return [start, stop) of each segment in the source; together they leave out no sample.

        Args:
            num_samples: of the run in the source.
            up: numerator of stored rate / source rate.
            down: its denominator.
        """
        edges = [-(-start * down // up) for start, _ in self.bounds]
        _, last = self.bounds[-1]
        edges.append(min(-(-last * down // up), num_samples))
        return list(pairwise(edges))


def cut_run(num_times: int, *, rate_hz: float, segment_s: float) -> Cut:
    """Return the segments of a run of `num_times` samples; the last may be short.

    A rest shorter than `MIN_SEGMENT_S` is left out.
    """
    length = round(segment_s * rate_hz)
    least = math.ceil(MIN_SEGMENT_S * rate_hz)
    starts = range(0, num_times, length)
    bounds = [(start, min(start + length, num_times)) for start in starts]
    rest = 0
    if bounds and bounds[-1][1] - bounds[-1][0] < least:
        start, stop = bounds.pop()
        rest = stop - start
    return Cut(tuple(bounds), rest)


def estimate_bytes(num_times: int, *, num_channels: int, sample_bytes: int) -> int:
    """Return about how many bytes of a shard a segment takes, tar padding included."""
    signal = num_times * num_channels * sample_bytes
    content = signal * (1 + _CRC_SHARE) + 2 * _NPY_HEADER_BYTES
    content += _META_BYTES + _META_BYTES_PER_CHANNEL * num_channels
    return int(content) + _MEMBERS * 2 * _TAR_BLOCK
