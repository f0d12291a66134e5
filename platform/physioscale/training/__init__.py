"""Training: a recipe's module, a stream and a run folder, driven by Lightning.

`fit` trains a run or goes on with it; `PretrainingModule` is what a recipe derives from;
`load_pretrained` gives the module of a checkpoint to those who do not train on.
"""

from physioscale.training.fit import RunResult, fit
from physioscale.training.module import Embeddings, PretrainingModule
from physioscale.training.pretrained import Pretrained, load_pretrained

__all__ = [
    "Embeddings",
    "Pretrained",
    "PretrainingModule",
    "RunResult",
    "fit",
    "load_pretrained",
]
