"""Training: a recipe's module, a stream and a run folder, driven by Lightning.

`fit` trains a run or goes on with it; `PretrainingModule` is what a recipe derives from.
"""

from physioscale.training.fit import RunResult, fit
from physioscale.training.module import Embeddings, PretrainingModule

__all__ = ["Embeddings", "PretrainingModule", "RunResult", "fit"]
