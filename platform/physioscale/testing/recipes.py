"""A tiny recipe on disk, for tests of what surrounds recipes: its network is one linear layer.

It builds, counts and resolves; it does not train (`physioscale new` writes one that does). Each
call makes another name, since a process can import only one recipe of a name.
"""

import itertools
from pathlib import Path

_NUMBERS = itertools.count()

RECIPE_YAML = """\
recipe:
  title: One linear layer
  paper: none
  kind: encoder
  modality: [eeg]
default_variant: debug
variants:
  debug:
    description: two inputs
    paper_parameters: 9 thousand
    encoder_parameters: 8
    model: {dim: 2}
  wide:
    description: ten inputs
    model: {dim: 10}
data:
  batch_samples: 16
"""

TRAINING_PY = '''\
"""Parts of a tiny recipe."""

from dataclasses import dataclass, field

from physioscale.recipes.parts import RecipeParts

from .model import Tiny


@dataclass
class HeadConfig:
    width: int = 1


@dataclass
class ModelConfig:
    dim: int
    depth: int = 4
    dropout: float = 0.0
    names: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    extra: dict[str, int] = field(default_factory=dict)
    head: HeadConfig | None = None


@dataclass
class ObjectiveConfig:
    mask_share: float = 0.5


def build_model(config):
    return Tiny(dim=config.dim, depth=config.depth)


RECIPE = RecipeParts(
    model_config=ModelConfig,
    objective_config=ObjectiveConfig,
    build_model=build_model,
    lightning_module=lambda model, config: model,
    encoder_parameters=lambda model: model.encoder.weight.numel(),
    tokens_per_window=lambda config, num_channels: num_channels * int(config.data.window_s),
)
'''

MODEL_PY = '''\
"""One linear layer."""

from torch import nn


class Tiny(nn.Module):
    def __init__(self, *, dim, depth):
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim is {dim}; at least 1 is needed")
        self.encoder = nn.Linear(dim, depth)
'''


def write_recipe(
    root: Path, *, name: str | None = None, yaml: str = RECIPE_YAML, training: str = TRAINING_PY
) -> Path:
    """Write a tiny recipe below `root` and return its folder.

    Args:
        name: Name of the folder; None makes one that no other call has made.
    """
    folder = root / (name if name is not None else f"tiny_{next(_NUMBERS)}")
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml, encoding="utf-8")
    (folder / "training.py").write_text(training, encoding="utf-8")
    (folder / "model.py").write_text(MODEL_PY, encoding="utf-8")
    return folder
