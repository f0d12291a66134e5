"""Wiring of RECIPE_NAME: settings, network, loss, and how its parameters and tokens are counted."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.recipes.parts import RecipeParts
from physioscale.streaming import Batch
from physioscale.training.module import Embeddings, PretrainingModule

from .model import MaskedAutoencoder, count_patches


@dataclass
class ModelConfig:
    """Sizes of the network."""

    patch_samples: int = 50
    """P, samples per patch at `load.sampling_rate_hz`."""
    dim: int = 128
    """D, width of the encoder and decoder."""
    depth: int = 4
    """Layers of the encoder."""
    num_heads: int = 4
    """Attention heads."""
    decoder_depth: int = 1
    """Layers of the decoder."""


@dataclass
class ObjectiveConfig:
    """What is learned."""

    mask_share: float = 0.5
    """Share of the patches that are hidden and predicted, above 0 and below 1."""


class MaskedPretraining(PretrainingModule):
    """Predict the masked patches of each window."""

    model: MaskedAutoencoder

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the loss of a batch whose signal is (B, C, T)."""
        num_channels, num_samples = batch.signal.shape[1:]
        patch_samples = self.config.model.patch_samples
        num_tokens = num_channels * count_patches(num_samples, patch_samples=patch_samples)
        # A random order for each window, keyed by seed, step and window: resuming repeats it.
        order = batch.draws.uniform("mask", num_tokens).argsort(dim=1)
        num_masked = count_masked(num_tokens, mask_share=self.config.objective.mask_share)
        return {"loss": self.model(batch.signal, order=order, num_masked=num_masked)}

    def encode(self, batch: Batch) -> Embeddings:
        """Return tokens (B, N, D) and their mean (B, D)."""
        tokens = self.model.encode(batch.signal)
        return Embeddings(tokens=tokens, pooled=tokens.mean(dim=1))


def count_masked(num_tokens: int, *, mask_share: float) -> int:
    """Return M; one patch at least is masked and one is seen.

    Raises:
        InputError: the share is not between 0 and 1, or the window has a single patch.
    """
    if not 0 < mask_share < 1 or num_tokens < 2:
        raise InputError(
            "objective.mask_share",
            found=f"{mask_share} of {num_tokens} patches",
            expected="a share above 0 and below 1, of at least 2 patches",
            do="Change the share, or choose a longer window.",
        )
    return min(max(round(mask_share * num_tokens), 1), num_tokens - 1)


def build_model(config: ModelConfig) -> nn.Module:
    """Return the network of a configuration."""
    return MaskedAutoencoder(
        patch_samples=config.patch_samples,
        dim=config.dim,
        depth=config.depth,
        num_heads=config.num_heads,
        decoder_depth=config.decoder_depth,
    )


def lightning_module(model: nn.Module, config: RunConfig) -> MaskedPretraining:
    """Return the module that Lightning trains."""
    return MaskedPretraining(model, config)


def encoder_parameters(model: nn.Module) -> int:
    """Return the number of parameters of the encoder; the decoder and mask token are left out."""
    assert isinstance(model, MaskedAutoencoder)
    return sum(parameter.numel() for parameter in model.encoder.parameters())


def tokens_per_window(config: RunConfig, num_channels: int) -> int:
    """Return N, the tokens of one window."""
    rate_hz = config.load.sampling_rate_hz
    if rate_hz is None:
        raise InputError(
            "load.sampling_rate_hz",
            found="null",
            expected="a rate: a patch has a fixed number of samples",
            do="Set the rate that the network is to see.",
        )
    num_samples = round(config.data.window_s * rate_hz)
    return num_channels * count_patches(num_samples, patch_samples=config.model.patch_samples)


RECIPE = RecipeParts(
    model_config=ModelConfig,
    objective_config=ObjectiveConfig,
    build_model=build_model,
    lightning_module=lightning_module,
    encoder_parameters=encoder_parameters,
    tokens_per_window=tokens_per_window,
)
