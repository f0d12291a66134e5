"""A masked autoencoder of signal patches: the network, in torch only.

In:  signal (B, C, T) float32, z-scored per channel over the window (no unit).
Out: tokens (B, N, D); in pretraining the mean squared error of the masked patches, in squared
     standard deviations of the window: predicting zero gives about 1.

Letters: B windows, C channels, T samples, P samples per patch, H patches per channel,
N = C * H tokens, V visible and M masked tokens, D width.
Token c * H + h is patch h of channel c. Samples after the last whole patch are not used.
Channels are told apart by their number in the recording: train on corpora of one montage, or
replace `position_code` by one of electrode positions.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedAutoencoder(nn.Module):
    """An encoder that sees some patches, and a small decoder that predicts the others."""

    def __init__(
        self,
        *,
        patch_samples: int,
        dim: int,
        depth: int,
        num_heads: int,
        decoder_depth: int = 1,
    ) -> None:
        super().__init__()
        if dim % 4 or dim % num_heads:
            raise ValueError(
                f"dim is {dim}; a multiple of 4 and of num_heads {num_heads} is needed"
            )
        self.patch_samples = patch_samples
        self.dim = dim
        self.encoder = PatchEncoder(
            patch_samples=patch_samples, dim=dim, depth=depth, num_heads=num_heads
        )
        self.mask_token = nn.Parameter(torch.empty(dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder = make_transformer(dim=dim, depth=decoder_depth, num_heads=num_heads)
        self.to_samples = nn.Linear(dim, patch_samples)

    def forward(self, signal: Tensor, *, order: Tensor, num_masked: int) -> Tensor:
        """Return the mean squared error of the masked patches, a scalar.

        Args:
            signal: (B, C, T).
            order: (B, N) int64, a permutation of the tokens of each window; the first are masked.
            num_masked: M, at least 1 and less than N.
        """
        patches = to_patches(signal, self.patch_samples)  # (B, C, T) -> (B, N, P)
        code = position_code(signal.shape[1], patches.shape[1], dim=self.dim, device=signal.device)
        code = code.expand(len(signal), -1, -1)
        masked, visible = order[:, :num_masked], order[:, num_masked:]
        tokens = self.encoder(take(patches, visible), take(code, visible))  # (B, V, D)
        queries = self.mask_token + take(code, masked)  # (B, M, D)
        decoded = self.decoder(torch.cat((tokens, queries), dim=1))
        predicted = self.to_samples(decoded[:, -num_masked:])  # (B, M, P)
        return F.mse_loss(predicted, take(patches, masked))

    def encode(self, signal: Tensor) -> Tensor:
        """Return the tokens (B, N, D) of whole windows (B, C, T)."""
        patches = to_patches(signal, self.patch_samples)
        code = position_code(signal.shape[1], patches.shape[1], dim=self.dim, device=signal.device)
        tokens: Tensor = self.encoder(patches, code.expand(len(signal), -1, -1))
        return tokens


class PatchEncoder(nn.Module):
    """Linear patches plus a code of place and time, through a pre-norm transformer."""

    def __init__(self, *, patch_samples: int, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(patch_samples, dim)
        self.transformer = make_transformer(dim=dim, depth=depth, num_heads=num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, patches: Tensor, code: Tensor) -> Tensor:
        """Return (B, V, D) for patches (B, V, P) and their codes (B, V, D)."""
        tokens: Tensor = self.norm(self.transformer(self.embedding(patches) + code))
        return tokens


def make_transformer(*, dim: int, depth: int, num_heads: int) -> nn.Module:
    """Return pre-norm transformer layers without dropout; the middle is 4 times as wide."""
    layer = nn.TransformerEncoderLayer(
        dim, num_heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def count_patches(num_samples: int, *, patch_samples: int) -> int:
    """Return H, the whole patches of one channel."""
    return num_samples // patch_samples


def to_patches(signal: Tensor, patch_samples: int) -> Tensor:
    """Cut (B, C, T) into (B, C * H, P).

    Raises:
        ValueError: the window is shorter than one patch.
    """
    num_patches = count_patches(signal.shape[-1], patch_samples=patch_samples)
    if num_patches == 0:
        raise ValueError(
            f"the window has {signal.shape[-1]} samples; at least one patch of {patch_samples}"
            " is needed"
        )
    # (B, C, T) -> (B, C, H * P) -> (B, C * H, P)
    whole = signal[..., : num_patches * patch_samples]
    return whole.reshape(len(signal), -1, patch_samples)


def position_code(num_channels: int, num_tokens: int, *, dim: int, device: torch.device) -> Tensor:
    """Return (N, D): sines and cosines of the channel's number, then of the patch's number."""
    token = torch.arange(num_tokens, device=device)
    num_patches = num_tokens // num_channels
    place = torch.stack((token // num_patches, token % num_patches), dim=-1)  # (N, 2)
    # From 1 rad per patch or channel down to 1/100: windows hold tens of either (ours).
    step = -math.log(1e2) / (dim // 4)
    frequency = torch.exp(step * torch.arange(dim // 4, device=device))  # (D / 4,)
    angle = place[..., None] * frequency  # (N, 2, D / 4)
    return torch.cat((angle.sin(), angle.cos()), dim=-1).reshape(num_tokens, dim)


def take(values: Tensor, indices: Tensor) -> Tensor:
    """Return (B, K, D): the rows of (B, N, D) at the indices (B, K) of each window."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))
