"""The wiring of REVE: settings, masks and noise from the batch's draws, and the loss.

In:  batches of the stream after the load pipeline: (B, C, T) at 200 Hz, z-scored per session and
     clipped, with positions in metres.
Out: metrics in units of the normalised signal; tokens (B, C * H, D) and pooled (B, D).
"""

from dataclasses import dataclass
from typing import cast, get_args

from torch import Tensor, nn

from physioscale.config import RunConfig
from physioscale.errors import InputError, suggest
from physioscale.recipes.parts import RecipeParts
from physioscale.streaming import Batch
from physioscale.training import Embeddings, PretrainingModule

from .masking import (
    BALL_RADIUS_M,
    BLOCK_PATCHES,
    DROPOUT_RADIUS_M,
    DROPOUT_RATIO,
    MASK_RATIO,
    MaskLayout,
    mask_tokens,
)
from .model import POOLED_WEIGHT, Reve, count_patches
from .positions import POSITION_NOISE_STD_M, draw_position_noise

# The authors' patches are cut in samples; everything that leads to them is at this rate.
MODEL_RATE_HZ = 200.0


@dataclass
class ModelConfig:
    """Sizes of encoder and decoder."""

    dim: int = 512
    """Width of the encoder."""
    depth: int = 22
    """Blocks of the encoder."""
    num_heads: int = 8
    """Attention heads of the encoder, 64 wide each."""
    num_frequencies: int = 4
    """Frequencies per axis of the 4-D Fourier code; 2 n^4 must be at least dim."""
    decoder_dim: int = 512
    """Width of the decoder; where it differs from dim, two linear layers lead over."""
    decoder_depth: int = 4
    """Blocks of the decoder."""
    decoder_heads: int = 8
    """Attention heads of the decoder, 64 wide each."""


@dataclass
class ObjectiveConfig:
    """What is masked, and what is predicted."""

    mask_ratio: float = MASK_RATIO
    """Share of the channels that is masked in every block of time."""
    block_patches: int = BLOCK_PATCHES
    """Patches in time that share one mask."""
    ball_radius_m: float = BALL_RADIUS_M
    """Channels within this distance (m) of a seed are masked with it."""
    dropout_ratio: float = DROPOUT_RATIO
    """Share of the channels that is masked in all blocks of a sample."""
    dropout_radius_m: float = DROPOUT_RADIUS_M
    """Radius (m) of the balls of that common set."""
    mask_layout: str = "blocks"
    """blocks masks the drawn blocks in space and time; released repeats the token numbering of the
    authors' code, which keeps the ratio and scatters the blocks."""
    pooled_weight: float = POOLED_WEIGHT
    """Weight of the second loss term, the prediction from the pooled vector."""
    position_noise_m: float = POSITION_NOISE_STD_M
    """Standard deviation (m) of the noise on positions in training, one draw for a global batch."""


class MaskedPretraining(PretrainingModule):
    """Masked reconstruction: the mean absolute error of the masked patches."""

    model: Reve

    def __init__(self, model: nn.Module, config: RunConfig) -> None:
        super().__init__(model, config)
        objective: ObjectiveConfig = config.objective
        _check(config, objective)
        self.objective = objective
        self.mask_layout = cast(MaskLayout, objective.mask_layout)
        self.model.pooled_weight = objective.pooled_weight

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        objective, channels = self.objective, batch.signal.shape[1]
        masked = mask_tokens(
            batch.positions_m,
            batch.draws,
            num_patches=count_patches(batch.signal.shape[-1]),
            mask_ratio=objective.mask_ratio,
            block_patches=objective.block_patches,
            ball_radius_m=objective.ball_radius_m,
            dropout_ratio=objective.dropout_ratio,
            dropout_radius_m=objective.dropout_radius_m,
            mask_layout=self.mask_layout,
        )
        noise_m = None
        if self.training:
            noise_m = draw_position_noise(
                batch.draws, num_channels=channels, std_m=objective.position_noise_m
            )
        terms = self.model(batch.signal, batch.positions_m, masked=masked, position_noise_m=noise_m)
        metrics = {"loss": terms.loss, "masked_l1": terms.masked_l1, "zero_l1": terms.zero_l1}
        return metrics if terms.pooled_l1 is None else {**metrics, "pooled_l1": terms.pooled_l1}

    def encode(self, batch: Batch) -> Embeddings:
        embedding = self.model.encode(batch.signal, batch.positions_m)
        return Embeddings(tokens=embedding.tokens, pooled=embedding.pooled)


def build_model(config: ModelConfig) -> Reve:
    """Return the network of a size."""
    return Reve(
        dim=config.dim,
        depth=config.depth,
        num_heads=config.num_heads,
        num_frequencies=config.num_frequencies,
        decoder_dim=config.decoder_dim,
        decoder_depth=config.decoder_depth,
        decoder_heads=config.decoder_heads,
    )


def encoder_parameters(model: nn.Module) -> int:
    """Return the parameters of the part that is kept after pretraining."""
    assert isinstance(model, Reve)
    return sum(parameter.numel() for parameter in model.encoder.parameters())


def tokens_per_window(config: RunConfig, num_channels: int) -> int:
    """Return C * H, masked tokens included."""
    return num_channels * count_patches(round(config.data.window_s * MODEL_RATE_HZ))


def _check(config: RunConfig, objective: ObjectiveConfig) -> None:
    layouts = get_args(MaskLayout)
    if objective.mask_layout not in layouts:
        raise InputError(
            "objective.mask_layout",
            found=f"'{objective.mask_layout}'{suggest(objective.mask_layout, layouts)}",
            expected=" or ".join(layouts),
            do="Use 'blocks' unless the authors' run is to be repeated to the letter.",
        )
    if config.load.sampling_rate_hz != MODEL_RATE_HZ:
        raise InputError(
            "load.sampling_rate_hz",
            found=str(config.load.sampling_rate_hz),
            expected=f"{MODEL_RATE_HZ:g}: REVE's patches are 200 samples of one second",
            do=f"Set load.sampling_rate_hz={MODEL_RATE_HZ:g}.",
        )


RECIPE = RecipeParts(
    model_config=ModelConfig,
    objective_config=ObjectiveConfig,
    build_model=build_model,
    lightning_module=MaskedPretraining,
    encoder_parameters=encoder_parameters,
    tokens_per_window=tokens_per_window,
)
