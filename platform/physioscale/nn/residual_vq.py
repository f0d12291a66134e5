"""Residual vector quantisation: each codebook quantises what the ones before it left over.

In:  vectors (..., D), any float type.
Out: the sum of one code per level, with the gradient of the input; the indices of all levels.

Source: Zeghidour et al. 2021, "SoundStream", arXiv 2107.03312, section III-C, algorithm 1. Its
quantiser dropout is `num_levels` of `forward`, for which the caller draws.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.nn.vq import Quantised, VectorQuantiser
from physioscale.random import Draws


@dataclass(frozen=True)
class ResidualQuantised:
    """What a stack of L codebooks makes of vectors."""

    values: Tensor
    """(..., D), type of the input: the sum of the codes, with the gradient of the input."""
    codes: Tensor
    """(..., L) int64, the index of each level's code."""
    commitment: Tensor
    """Scalar float32: the levels' mean commitment."""
    levels: tuple[Quantised, ...]
    """What each level made of its residual."""


class ResidualQuantiser(nn.Module):
    """`num_levels` codebooks in a row; the settings of each are those of `VectorQuantiser`.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        *,
        num_levels: int,
        num_codes: int,
        dim: int,
        decay: float = 0.99,
        dead_below: float = 0.0,
        purpose: str = "rvq",
    ) -> None:
        super().__init__()
        _check_levels("num_levels", num_levels, at_most=None)
        self.levels = nn.ModuleList(
            VectorQuantiser(
                num_codes=num_codes,
                dim=dim,
                decay=decay,
                dead_below=dead_below,
                purpose=f"{purpose}.{level}",
            )
            for level in range(num_levels)
        )

    def forward(self, x: Tensor, *, num_levels: int | None = None) -> ResidualQuantised:
        """Quantise vectors (..., D) by the first `num_levels` codebooks, or by all of them.

        Raises:
            InputError: if there are fewer codebooks than that.
        """
        if num_levels is not None:
            _check_levels("num_levels of forward", num_levels, at_most=len(self.levels))
        levels: list[Quantised] = []
        x32 = x.float()
        total = torch.zeros_like(x32)
        for level in self.levels[:num_levels]:
            assert isinstance(level, VectorQuantiser)
            # The codes of `total` have no gradient, so each commitment pulls the input itself.
            quantised: Quantised = level(x32 - total)
            total = total + level.decode(quantised.codes)
            levels.append(quantised)
        return ResidualQuantised(
            values=(x32 + (total - x32).detach()).to(x.dtype),
            codes=torch.stack([level.codes for level in levels], dim=-1),
            commitment=torch.stack([level.commitment for level in levels]).mean(),
            levels=tuple(levels),
        )

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., D) float32 of codes (..., L) of the first L levels.

        Raises:
            InputError: if there are fewer codebooks than that.
        """
        _check_levels("levels of codes", codes.shape[-1], at_most=len(self.levels))
        vectors = []
        for level, column in zip(self.levels, codes.unbind(-1), strict=False):
            assert isinstance(level, VectorQuantiser)
            vectors.append(level.decode(column))
        return torch.stack(vectors).sum(0)

    def observe(self, quantised: ResidualQuantised, *, draws: Draws) -> None:
        """Add a micro-batch to the statistics; levels that were left out see nothing."""
        for level, part in zip(self.levels, quantised.levels, strict=False):
            assert isinstance(level, VectorQuantiser)
            level.observe(part, draws=draws)

    def update(self) -> None:
        """Move all codebooks; every rank calls it once per step, also with levels left out."""
        for level in self.levels:
            assert isinstance(level, VectorQuantiser)
            level.update()


def _check_levels(name: str, num_levels: int, *, at_most: int | None) -> None:
    if num_levels < 1 or (at_most is not None and num_levels > at_most):
        raise InputError(
            f"residual quantiser: {name}",
            found=f"{num_levels}",
            expected="at least 1" if at_most is None else f"1 to {at_most}",
            do="Mend the setting.",
        )
