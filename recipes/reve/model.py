"""REVE: a masked autoencoder for EEG that knows a montage only by electrode coordinates.

In:  signal (B, C, T) float32 at 200 Hz, z-scored per channel with the statistics of its recording
     session and clipped to +-15; positions_m (B, C, 3) float32 metres, in the channels' order.
Out: tokens (B, C * H, D), channel-major (token c * H + h is patch h of channel c); pooled (B, D);
     in training the loss, in units of the normalised signal.

Letters: B samples, C channels, T time samples, P samples per patch, H patches per channel,
N = C * H tokens, V visible and M masked tokens (V + M = N), D width.
Patches overlap by 20 samples, so a masked patch shares its edges with visible neighbours in time.
Samples after the last whole patch are not used: 6000 give 33 patches and leave 40.
Nothing here draws random numbers but the initialisation: masks and position noise come in.
Source: El Ouahidi et al. 2025, "REVE: A Foundation Model for EEG", arXiv 2510.21585.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from physioscale.errors import InputError

from .decoder import LayerPool, ReveDecoder
from .encoder import HOP_SAMPLES, PATCH_SAMPLES, ReveEncoder, count_patches, take_tokens
from .masking import MaskedTokens
from .positions import check_positions
from .transformer import HEAD_DIM, MLP_RATIO

__all__ = ["Reve", "ReveEmbedding", "ReveEncoder", "ReveLoss", "count_patches"]

POOLED_WEIGHT = 0.1


@dataclass(frozen=True)
class ReveLoss:
    """Loss terms of one batch, each a float32 scalar, mean absolute error over masked patches.

    `loss` is what is minimised: masked_l1, and in training plus 0.1 * pooled_l1. `masked_l1` is the
    decoder's error; `pooled_l1` that of the pooled vector's head (None in evaluation mode);
    `zero_l1` that of predicting zero, which a model must beat to have learned anything.
    """

    loss: Tensor
    masked_l1: Tensor
    pooled_l1: Tensor | None
    zero_l1: Tensor


@dataclass(frozen=True)
class ReveEmbedding:
    """What `Reve.encode` returns: tokens (B, C * H, D), channel-major, and pooled (B, D)."""

    tokens: Tensor
    pooled: Tensor


class Reve(nn.Module):
    """The masked autoencoder: encoder, decoder, and the head of the pooled vector.

    Args:
        dim: D, width of the encoder.
        depth: blocks of the encoder.
        num_heads: attention heads of the encoder, `head_dim` wide each.
        num_frequencies: n of the Fourier code; 2 n^4 must be at least D.
        decoder_dim: width of the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of the decoder, `head_dim` wide each.
        head_dim: width of an attention head.
        mlp_ratio: inner width of a GEGLU is int(mlp_ratio * width).
        patch_samples: P, samples of a patch.
        hop_samples: samples from the start of a patch to the start of the next.
        pooled_weight: weight of the pooled vector's loss term.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        num_heads: int,
        num_frequencies: int,
        decoder_dim: int = 512,
        decoder_depth: int = 4,
        decoder_heads: int = 8,
        head_dim: int = HEAD_DIM,
        mlp_ratio: float = MLP_RATIO,
        patch_samples: int = PATCH_SAMPLES,
        hop_samples: int = HOP_SAMPLES,
        pooled_weight: float = POOLED_WEIGHT,
    ) -> None:
        super().__init__()
        self.pooled_weight = pooled_weight
        self.encoder = ReveEncoder(
            dim=dim,
            depth=depth,
            num_heads=num_heads,
            num_frequencies=num_frequencies,
            head_dim=head_dim,
            mlp_ratio=mlp_ratio,
            patch_samples=patch_samples,
            hop_samples=hop_samples,
        )
        self.decoder = ReveDecoder(
            encoder_dim=dim,
            dim=decoder_dim,
            depth=decoder_depth,
            num_heads=decoder_heads,
            head_dim=head_dim,
            mlp_ratio=mlp_ratio,
            patch_samples=patch_samples,
        )
        self.pool = LayerPool(dim=dim)
        self.pooled_head = nn.Sequential(
            nn.Linear(dim, 4 * dim, bias=False), nn.ReLU(), nn.Linear(4 * dim, patch_samples)
        )

    def forward(
        self,
        signal: Tensor,
        positions_m: Tensor,
        *,
        masked: MaskedTokens,
        position_noise_m: Tensor | None = None,
    ) -> ReveLoss:
        """Return the loss of reconstructing the masked patches.

        Args:
            signal: (B, C, T) float32, normalised and clipped.
            positions_m: (B, C, 3) metres; never written to.
            masked: the tokens to hide and those to show.
            position_noise_m: (C, 3) metres, added to the positions of all samples; training only.

        Raises:
            InputError: as the encoder; if the masks do not cover the tokens; if there is noise in
                evaluation mode.
        """
        if position_noise_m is not None:
            _check_noise(position_noise_m, channels=signal.shape[1], training=self.training)
            positions_m = positions_m + position_noise_m
        patches, code = self.encoder.tokenise(signal, positions_m)
        _check_masks(masked, num_tokens=patches.shape[1])
        target = take_tokens(patches, masked.masked).float()
        masked_code = take_tokens(code, masked.masked)
        states = self.encoder.layers(patches, code, visible=masked.visible)

        visible_code = take_tokens(code, masked.visible)
        predicted = self.decoder(states[-1], visible_code=visible_code, masked_code=masked_code)
        masked_l1 = _mean_l1(predicted, target)
        zero_l1 = target.abs().mean()
        if not self.training:
            return ReveLoss(loss=masked_l1, masked_l1=masked_l1, pooled_l1=None, zero_l1=zero_l1)
        # (B, 1, D) + (B, M, D) -> (B, M, P)
        from_pooled = self.pooled_head(self.pool(states)[:, None] + masked_code)
        pooled_l1 = _mean_l1(from_pooled, target)
        loss = masked_l1 + self.pooled_weight * pooled_l1
        return ReveLoss(loss=loss, masked_l1=masked_l1, pooled_l1=pooled_l1, zero_l1=zero_l1)

    def encode(self, signal: Tensor, positions_m: Tensor) -> ReveEmbedding:
        """Return the embedding of whole windows: nothing masked, no noise, in either mode.

        Args:
            signal: (B, C, T) float32, normalised and clipped.
            positions_m: (B, C, 3) metres. Their values are checked, also on a GPU.

        Raises:
            InputError: if the window is too short, signal and positions do not belong together, or
                a position is unknown.
        """
        check_positions(positions_m)
        patches, code = self.encoder.tokenise(signal, positions_m)
        states = self.encoder.layers(patches, code, visible=None)
        return ReveEmbedding(tokens=states[-1], pooled=self.pool(states))


def _mean_l1(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted.float() - target).abs().mean()


def _check_noise(noise_m: Tensor, *, channels: int, training: bool) -> None:
    if not training or noise_m.shape != (channels, 3):
        mode = "training" if training else "evaluation"
        raise InputError(
            "position_noise_m",
            found=f"noise {tuple(noise_m.shape)} in {mode} mode",
            expected=f"({channels}, 3) in training mode, None in evaluation mode",
            do="Pass one draw for the whole batch, and only where the model trains.",
        )


def _check_masks(masked: MaskedTokens, *, num_tokens: int) -> None:
    covered = masked.visible.shape[1] + masked.masked.shape[1]
    if covered != num_tokens or not masked.masked.shape[1] or not masked.visible.shape[1]:
        raise InputError(
            "masked",
            found=f"{masked.visible.shape[1]} visible and {masked.masked.shape[1]} masked tokens",
            expected=f"both, {num_tokens} together",
            do="Draw the masks for this window's channels and patches.",
        )
