"""Vector quantisation with a codebook that follows its inputs by exponential moving averages.

In:  vectors (..., D), any float type.
Out: the nearest code of each vector, with the gradient of the input (straight-through); its index.

A step has three parts, so that micro-batches and ranks count as one batch: `forward` quantises and
changes nothing; `observe` adds a micro-batch to the statistics; `update` sums these over all ranks
and moves the codebook. Every rank must call `update` once per optimizer step. The statistics are
float32 buffers, all ranks reduce the same numbers, and what is drawn is keyed by the sample, so
that the codebooks of all ranks are equal to the bit.

A code that is hardly used any more is replaced by an input of the step, taken at random from all
ranks (SoundStream, section III-C). The chance of a vector depends on its place in the global batch
alone, not on the rank that holds it.

Letters: K codes, D numbers per vector, N vectors of a micro-batch, R ranks.
Source: van den Oord et al. 2017, "Neural discrete representation learning", arXiv 1711.00937,
equations 1 to 3 and appendix A.1 (N, m, gamma there are `counts`, `sums`, `decay` here); Zeghidour
et al. 2021, "SoundStream", arXiv 2107.03312, for the replacement.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.random import Draws

# An average use below this is none: dividing by it would give a code of rounding errors.
_NO_USE = 1e-10
_NO_SCORE = -1


@dataclass(frozen=True)
class Quantised:
    """What a codebook makes of vectors."""

    values: Tensor
    """(..., D), type of the input: the codes, with the gradient of the input."""
    codes: Tensor
    """(...) int64, the index of each code."""
    commitment: Tensor
    """Scalar float32: mean squared distance of input and code, which pulls the input (third term
    of equation 3, without its factor beta)."""
    inputs: Tensor
    """(..., D) float32, without gradient: what `observe` counts."""


class VectorQuantiser(nn.Module):
    """A codebook of `num_codes` vectors of `dim` numbers.

    The first codes come from torch's generator, which must stand alike on all ranks.

    Args:
        num_codes: K.
        dim: D.
        decay: gamma of the moving averages; the paper's is 0.99.
        dead_below: a code whose average use per step falls below this many vectors of the global
            batch is replaced; 0 never replaces. SoundStream's is 2. Such a code starts again with
            the average use of all codes, which is ours.
        purpose: the key of its draws; unlike in any two codebooks of a network.

    Raises:
        InputError: if a setting is out of range.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        *,
        num_codes: int,
        dim: int,
        decay: float = 0.99,
        dead_below: float = 0.0,
        purpose: str = "vq",
    ) -> None:
        super().__init__()
        if num_codes < 1 or dim < 1 or not 0 <= decay < 1 or not 0 <= dead_below < math.inf:
            raise InputError(
                "vector quantiser",
                found=f"num_codes {num_codes}, dim {dim}, decay {decay}, dead_below {dead_below}",
                expected="at least one code and number, a decay in [0, 1), dead_below from 0",
                do="Mend the setting.",
            )
        self.decay = decay
        self.dead_below = dead_below
        self.purpose = purpose
        codebook = torch.randn(num_codes, dim) / math.sqrt(dim)
        self.register_buffer("codebook", codebook)
        # As if each code had been used once per step so far.
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", codebook.clone())
        # No buffers: between steps there is nothing to save, and DDP would overwrite them.
        self._seen: _Seen | None = None

    def forward(self, x: Tensor) -> Quantised:
        """Return the nearest codes of vectors (..., D)."""
        with _without_autocast(x.device):
            x32 = x.float()
            flat = x32.detach().reshape(-1, x.shape[-1])
            # |x - e|^2 without |x|^2, which is the same for all codes. (N, D) -> (N, K)
            distances = self.codebook.square().sum(-1) - 2 * flat @ self.codebook.T
            codes = distances.argmin(-1).reshape(x.shape[:-1])
            values = self.decode(codes)
            commitment = (x32 - values).square().mean()
            straight = x32 + (values - x32).detach()
        return Quantised(
            values=straight.to(x.dtype), codes=codes, commitment=commitment, inputs=x32.detach()
        )

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., D) float32 of codes (...)."""
        return self.codebook[codes]

    @torch.no_grad()
    def observe(self, quantised: Quantised, *, draws: Draws) -> None:
        """Add a micro-batch to the statistics of this step.

        Args:
            quantised: what `forward` returned for vectors (B, ..., D).
            draws: of the micro-batch's B samples.
        """
        if self._seen is None:
            self._seen = _Seen.nothing(self.codebook)
        inputs = quantised.inputs.flatten(0, -2)
        self._seen.count(quantised.codes.flatten(), inputs)
        if self.dead_below > 0:
            per_sample = quantised.codes[0].numel()
            scores = _scores(draws, purpose=self.purpose, per_sample=per_sample)
            self._seen.keep_best(scores, inputs)

    @torch.no_grad()
    def update(self) -> None:
        """Move the codebook by what all ranks observed; every rank calls it once per step.

        Costs an all-reduce of K (D + 1) numbers; with replacement also a gathering of K per rank
        and an all-reduce of K D. Nothing waits for the device.
        """
        mine = _Seen.nothing(self.codebook) if self._seen is None else self._seen
        seen = torch.cat((mine.counts[:, None], mine.sums), dim=1)
        _sum_over_ranks(seen)
        self.counts.lerp_(seen[:, 0], 1 - self.decay)
        self.sums.lerp_(seen[:, 1:], 1 - self.decay)
        used = self.counts > _NO_USE
        means = self.sums / self.counts.clamp(min=_NO_USE)[:, None]
        self.codebook.copy_(torch.where(used[:, None], means, self.codebook))
        if self.dead_below > 0:
            self._replace_dead_codes(mine)
        self._seen = None

    def _replace_dead_codes(self, mine: "_Seen") -> None:
        fresh, num_fresh = _best_over_ranks(mine.scores, mine.candidates)
        dead = self.counts < self.dead_below
        # The n-th dead code gets the n-th candidate.
        order = dead.cumsum(0) - 1
        dead &= order < num_fresh
        average = self.counts.mean()
        chosen = fresh[order.clamp(min=0)]
        self.codebook.copy_(torch.where(dead[:, None], chosen, self.codebook))
        self.counts.copy_(torch.where(dead, average, self.counts))
        self.sums.copy_(torch.where(dead[:, None], chosen * average, self.sums))


@dataclass
class _Seen:
    """What one rank observed since the last update."""

    counts: Tensor
    """(K,) float32."""
    sums: Tensor
    """(K, D) float32."""
    scores: Tensor
    """(K,) int64, the highest so far; `_NO_SCORE` where there are fewer vectors."""
    candidates: Tensor
    """(K, D) float32, the vectors of these scores."""

    @classmethod
    def nothing(cls, codebook: Tensor) -> "_Seen":
        counts = torch.zeros_like(codebook[:, 0])
        return cls(
            counts=counts,
            sums=torch.zeros_like(codebook),
            scores=torch.full_like(counts, _NO_SCORE, dtype=torch.int64),
            candidates=torch.zeros_like(codebook),
        )

    def count(self, codes: Tensor, inputs: Tensor) -> None:
        self.counts.index_add_(0, codes, torch.ones_like(codes, dtype=torch.float32))
        self.sums.index_add_(0, codes, inputs)

    def keep_best(self, scores: Tensor, inputs: Tensor) -> None:
        together = torch.cat((self.scores, scores))
        best = together.topk(len(self.scores)).indices
        self.scores = together[best]
        self.candidates = torch.cat((self.candidates, inputs))[best]


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Keep distances in float32: bfloat16's eight bits are too few to tell neighbours apart."""
    # Tensors without values have no autocast, and torch refuses its name.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _scores(draws: Draws, *, purpose: str, per_sample: int) -> Tensor:
    """Return (N,) int64 of 48 random bits for each vector: two draws, so that ties are rare."""
    pairs = draws.uniform(f"{purpose}.refill", per_sample, 2).double() * 2**24
    high, low = pairs.to(torch.int64).unbind(-1)
    return (high * 2**24 + low).flatten()


def _best_over_ranks(scores: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the K vectors of the highest scores on any rank, in order, and how many are real.

    Each rank puts its own into their places, all others are zero there, and the sum of one number
    and zeros is exact.
    """
    num_codes = len(scores)
    rank, gathered = 0, scores
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
        parts = [torch.empty_like(scores) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, scores)
        gathered = torch.cat(parts)
    ordered, places = gathered.sort(descending=True, stable=True)
    places = places[:num_codes]
    mine = places // num_codes == rank
    best = torch.where(mine[:, None], vectors[places % num_codes], 0.0)
    _sum_over_ranks(best)
    return best, (ordered[:num_codes] > _NO_SCORE).sum()


def _sum_over_ranks(tensor: Tensor) -> None:
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
