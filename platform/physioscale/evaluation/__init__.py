"""Evaluation of frozen encoders: a linear probe on labelled shards, with subject-wise splits."""

from physioscale.evaluation.checkpoint import Checkpoint, find_checkpoint
from physioscale.evaluation.result import EvaluationResult, Figure
from physioscale.evaluation.run import EvaluationSettings, evaluate_checkpoint

__all__ = [
    "Checkpoint",
    "EvaluationResult",
    "EvaluationSettings",
    "Figure",
    "evaluate_checkpoint",
    "find_checkpoint",
]
