"""Counter-based draws: the same numbers on every device, rank count and resume.

In:  a run's seed, the global step and each sample's index in the global batch (B,) int64.
Out: float32 tensors, (B, *shape) for draws per sample or (*shape,) for one draw shared by a batch.

A draw is a pure function of (seed, purpose, step) or (seed, purpose, step, sample): nothing is
advanced, so nothing has to be saved, and ranks only divide what one rank would have drawn. Torch's
own generators differ between CPU and CUDA; Philox in integer arithmetic does not. `normal` goes
through log and cos, which may differ in the last bit between devices.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
"""

import hashlib
import math

import torch
from torch import Tensor

_MASK32 = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# One shared draw for the whole batch uses a sample index no real sample has.
_WHOLE_BATCH = _MASK32


def philox4x32(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> Tensor:
    """Return the 10-round Philox4x32 block of each counter.

    Args:
        counter: four int64 tensors of one shape (N,), each holding values in [0, 2^32).
        key: two integers in [0, 2^32).

    Returns:
        (N, 4) int64, values in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + _WEYL[0]) & _MASK32
        k1 = (k1 + _WEYL[1]) & _MASK32
    return torch.stack((c0, c1, c2, c3), dim=-1)


def purpose_key(seed: int, purpose: str) -> tuple[int, int]:
    """Return the Philox key of a purpose ("mask", "crop", ...) under a run's seed."""
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


class Draws:
    """The draws of one (micro-)batch at one global step.

    `sample_index` (B,) int64 is each sample's place in the *global* batch of the step, so that two
    ranks of 8 samples draw what one rank of 16 draws.
    """

    def __init__(self, seed: int, *, step: int, sample_index: Tensor) -> None:
        if sample_index.ndim != 1 or sample_index.dtype != torch.int64:
            raise TypeError(
                f"sample_index must be int64 (B,), not {sample_index.dtype} "
                f"{tuple(sample_index.shape)}"
            )
        self.seed = seed
        self.step = step
        self.sample_index = sample_index

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Draws":
        """Return the same draws with the sample index on `device`."""
        moved = self.sample_index.to(device, non_blocking=non_blocking)
        return Draws(self.seed, step=self.step, sample_index=moved)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Return (B, *shape) float32, uniform in [0, 1), drawn per sample."""
        words = self._words(purpose, self.sample_index, math.prod(shape))
        return _unit_interval(words).reshape(len(self.sample_index), *shape)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Return (B, *shape) float32, standard normal, drawn per sample."""
        count = math.prod(shape)
        words = self._words(purpose, self.sample_index, 2 * count)
        return _box_muller(words).reshape(len(self.sample_index), *shape)

    def batch_uniform(self, purpose: str, *shape: int) -> Tensor:
        """Return (*shape,) float32, uniform in [0, 1): one draw for the whole global batch."""
        words = self._words(purpose, self._whole_batch(), math.prod(shape))
        return _unit_interval(words).reshape(*shape)

    def batch_normal(self, purpose: str, *shape: int) -> Tensor:
        """Return (*shape,) float32, standard normal: one draw for the whole global batch."""
        words = self._words(purpose, self._whole_batch(), 2 * math.prod(shape))
        return _box_muller(words).reshape(*shape)

    def _whole_batch(self) -> Tensor:
        return torch.full((1,), _WHOLE_BATCH, dtype=torch.int64, device=self.sample_index.device)

    def _words(self, purpose: str, sample: Tensor, count: int) -> Tensor:
        """Return (len(sample), count) int64 of 32 random bits each."""
        blocks = -(-count // 4)
        device = sample.device
        block = torch.arange(blocks, dtype=torch.int64, device=device).repeat(len(sample))
        row = sample.repeat_interleave(blocks)
        step_low = torch.full_like(row, self.step & _MASK32)
        step_high = torch.full_like(row, (self.step >> 32) & _MASK32)
        words = philox4x32((block, row, step_low, step_high), purpose_key(self.seed, purpose))
        return words.reshape(len(sample), 4 * blocks)[:, :count]


def _multiply(value: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    # The 64-bit product may pass 2^63 and wrap to a negative number; its bits are still right, and
    # masking after the (arithmetic) shift drops the sign's copies.
    product = value * factor
    return (product >> 32) & _MASK32, product & _MASK32


def _unit_interval(words: Tensor) -> Tensor:
    # The upper 24 bits fill a float32 mantissa exactly, so 1.0 can never be rounded to.
    return (words >> 8).to(torch.float32) * 2.0**-24


def _box_muller(words: Tensor) -> Tensor:
    half = words.shape[-1] // 2
    # 1 - u lies in (0, 1], so the logarithm is finite.
    radius = torch.sqrt(-2.0 * torch.log(1.0 - _unit_interval(words[:, :half])))
    return radius * torch.cos(2.0 * math.pi * _unit_interval(words[:, half:]))
