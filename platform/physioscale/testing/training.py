"""A recipe that trains in milliseconds, for tests of what surrounds training.

It restores patches of which half the samples were set to zero, by one hidden layer with dropout, so
that a resume that forgets a random generator shows. Set `model.dropout=0` to compare ranks.
"""

from collections.abc import Sequence
from pathlib import Path

from physioscale.config import RunConfig
from physioscale.recipes.loader import load_recipe
from physioscale.testing.recipes import write_recipe
from physioscale.testing.recordings import synthetic_recordings
from physioscale.testing.shards import write_shard_set

_YAML = """\
recipe:
  title: Half of the samples from the other half
  paper: none
  kind: encoder
  modality: [eeg]
default_variant: debug
variants:
  debug:
    description: 8 hidden units
load: {sampling_rate_hz: 100, normalise: session}
data: {window_s: 2, batch_samples: 16, reader_threads: 1}
optimizer: {name: stable_adamw, lr: 1e-2}
trainer: {max_steps: 12, log_every_steps: 4, checkpoint_every_steps: 6, accelerator: cpu}
tracking: {tensorboard: false}
"""

_TRAINING = '''\
"""Half of the samples from the other half."""

from dataclasses import dataclass

import torch
from torch import nn

from physioscale.recipes.parts import RecipeParts
from physioscale.training import Embeddings, PretrainingModule

PATCH = 20


@dataclass
class ModelConfig:
    dim: int = 8
    dropout: float = 0.2


@dataclass
class ObjectiveConfig:
    pass


class Network(nn.Module):
    def __init__(self, *, dim, dropout):
        super().__init__()
        self.encoder = nn.Linear(PATCH, dim)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(dim, PATCH)

    def forward(self, x):
        return self.decoder(self.dropout(torch.tanh(self.encoder(x))))


class Halves(PretrainingModule):
    def loss(self, batch):
        patches = batch.signal.unfold(-1, PATCH, PATCH).flatten(1, 2)
        seen = batch.draws.uniform("halves", *patches.shape[1:]) < 0.5
        error = self.model(patches * seen) - patches
        return {"loss": error.square().mean(), "l1": error.abs().mean()}

    def encode(self, batch):
        tokens = self.model.encoder(batch.signal.unfold(-1, PATCH, PATCH).flatten(1, 2))
        return Embeddings(tokens=tokens, pooled=tokens.mean(dim=1))


RECIPE = RecipeParts(
    model_config=ModelConfig,
    objective_config=ObjectiveConfig,
    build_model=lambda config: Network(dim=config.dim, dropout=config.dropout),
    lightning_module=Halves,
    encoder_parameters=lambda model: sum(p.numel() for p in model.encoder.parameters()),
    tokens_per_window=lambda config, channels: channels * int(config.data.window_s * 100) // PATCH,
)
'''


def write_trainable_recipe(root: Path, *, name: str | None = None) -> str:
    """Write the recipe below `root` and return its name.

    The caller names `root` in `PHYSIOSCALE_RECIPES`. Without a name each call makes another one,
    since a process can import only one recipe of a name.
    """
    return write_recipe(root, name=name, yaml=_YAML, training=_TRAINING).name


def write_training_shards(folder: Path, *, num_channels: int = 4) -> Path:
    """Write a shard set of 8 recordings of 20 s (80 windows of 2 s) and return its folder."""
    recordings = synthetic_recordings(
        4, num_val=0, num_test=0, num_channels=num_channels, sampling_rate_hz=100.0, duration_s=20.0
    )
    write_shard_set(folder, recordings=recordings, segment_s=10.0)
    return folder


def training_words(root: Path, shards: Path, *words: str) -> list[str]:
    """Return `key=value` words of a run in `root` on `shards`."""
    return [f"data.shards={shards}", f"run.root={root / 'runs'}", *words]


def training_config(recipe: str, words: Sequence[str]) -> RunConfig:
    """Return the configuration of a run of the recipe."""
    return load_recipe(recipe).resolve(overrides=words)
