"""Keyed permutations: an order that depends on a key and on nothing else.

Numbers are sorted by the Philox words of their own value, so the same key gives the same order on
every machine, library version and rank, and a part of the order can be had without the rest.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from physioscale.random import philox4x32, purpose_key

_MASK32 = 0xFFFFFFFF


def permute(values: NDArray[np.int64], *, seed: int, purpose: str) -> NDArray[np.int64]:
    """Return the distinct non-negative `values` (N,) in the order keyed by (seed, purpose)."""
    words = _words(values, seed=seed, purpose=purpose)
    # Equal words (2^-62 per pair) fall back to the order of the values themselves.
    order = np.lexsort((values, words))
    permuted: NDArray[np.int64] = values[order]
    return permuted


def _words(values: NDArray[np.int64], *, seed: int, purpose: str) -> NDArray[np.int64]:
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
    zero = torch.zeros_like(tensor)
    block = philox4x32(
        (tensor & _MASK32, tensor >> 32, zero, zero), purpose_key(seed, f"order/{purpose}")
    )
    words: NDArray[np.int64] = ((block[:, 0] >> 1 << 32) | block[:, 1]).numpy()
    return words
