"""Optimizers and learning-rate schedules that torch does not bring."""

from physioscale.optim.schedules import cyclic_trapezoid, trapezoid
from physioscale.optim.stable_adamw import StableAdamW

__all__ = ["StableAdamW", "cyclic_trapezoid", "trapezoid"]
