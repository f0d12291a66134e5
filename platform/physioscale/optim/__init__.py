"""Optimizers and learning-rate schedules that torch does not bring, and optimizers under ZeRO."""

from physioscale.optim.partition import FlatPartition, Piece
from physioscale.optim.schedules import cyclic_trapezoid, trapezoid
from physioscale.optim.stable_adamw import StableAdamW
from physioscale.optim.zero import check_under_zero, float32_weights, set_partitions

__all__ = [
    "FlatPartition",
    "Piece",
    "StableAdamW",
    "check_under_zero",
    "cyclic_trapezoid",
    "float32_weights",
    "set_partitions",
    "trapezoid",
]
