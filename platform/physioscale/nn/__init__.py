"""Network parts that keep their meaning on many ranks: EMA teachers, codebooks, frozen parts."""

from physioscale.nn.ema import EmaTeacher, cosine_momentum, linear_momentum
from physioscale.nn.frozen import Frozen
from physioscale.nn.residual_vq import ResidualQuantised, ResidualQuantiser
from physioscale.nn.vq import Quantised, VectorQuantiser

__all__ = [
    "EmaTeacher",
    "Frozen",
    "Quantised",
    "ResidualQuantised",
    "ResidualQuantiser",
    "VectorQuantiser",
    "cosine_momentum",
    "linear_momentum",
]
