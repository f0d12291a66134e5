"""Distributed pretraining of large encoders of brain and heart signals."""

__version__ = "0.1.0"

__all__ = ["__version__"]
