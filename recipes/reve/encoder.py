"""The encoder of REVE: linear patches plus positional code, through a transformer.

In:  signal (B, C, T) float32, normalised as `model` says; positions_m (B, C, 3) float32 metres.
Out: tokens (B, C * H, D), channel-major: token c * H + h is patch h of channel c.

Letters: B samples, C channels, T time samples, P samples per patch, H patches per channel,
N = C * H tokens, V visible tokens, D width.
Patches overlap by 20 samples. Samples after the last whole patch are not used: 6000 give 33
patches and leave 40.
Source: El Ouahidi et al. 2025, arXiv 2510.21585, and the authors' released encoder.
"""

import warnings

from torch import Tensor, nn

from physioscale.errors import InputError

from .positions import PATCHES_PER_PERIOD, PositionCode, check_positions
from .transformer import HEAD_DIM, MLP_RATIO, Transformer

PATCH_SAMPLES = 200
HOP_SAMPLES = 180


def count_patches(
    num_samples: int, *, patch_samples: int = PATCH_SAMPLES, hop_samples: int = HOP_SAMPLES
) -> int:
    """Return H, the whole patches of one channel.

    Raises:
        InputError: if the window is shorter than one patch.
    """
    if num_samples < patch_samples:
        raise InputError(
            "window",
            found=f"{num_samples} samples",
            expected=f"at least {patch_samples} samples, one patch (1 s at 200 Hz in REVE)",
            do="Use longer windows; REVE does not pad.",
        )
    return (num_samples - patch_samples) // hop_samples + 1


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Return (B, K, D): the tokens (B, N, D) at the indices (B, K) of each sample."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


class ReveEncoder(nn.Module):
    """Linear patches plus positional code, through a pre-norm transformer."""

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        num_heads: int,
        num_frequencies: int,
        head_dim: int = HEAD_DIM,
        mlp_ratio: float = MLP_RATIO,
        patch_samples: int = PATCH_SAMPLES,
        hop_samples: int = HOP_SAMPLES,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.patch_samples = patch_samples
        self.hop_samples = hop_samples
        self.patch_embedding = nn.Linear(patch_samples, dim)
        self.position_code = PositionCode(dim=dim, num_frequencies=num_frequencies)
        self.transformer = Transformer(
            dim=dim, depth=depth, num_heads=num_heads, head_dim=head_dim, mlp_ratio=mlp_ratio
        )

    def forward(
        self, signal: Tensor, positions_m: Tensor, *, visible: Tensor | None = None
    ) -> Tensor:
        """Return the tokens (B, V, D) at the indices `visible` (B, V) int64; (B, N, D) if None.

        Raises:
            InputError: if the window is too short, signal and positions do not belong together, or
                (looked at on a CPU only) a position is unknown.
        """
        patches, code = self.tokenise(signal, positions_m)
        return self.layers(patches, code, visible=visible)[-1]

    def tokenise(self, signal: Tensor, positions_m: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw patches (B, N, P) and their positional code (B, N, D)."""
        _check_inputs(signal, positions_m)
        num_patches = count_patches(
            signal.shape[-1], patch_samples=self.patch_samples, hop_samples=self.hop_samples
        )
        if num_patches > PATCHES_PER_PERIOD:
            warnings.warn(
                f"{num_patches} patches per channel: REVE's time code repeats after "
                f"{PATCHES_PER_PERIOD} (about 16 s); use shorter windows to tell all patches apart",
                stacklevel=2,
            )
        # (B, C, T) -> (B, C, H, P) -> (B, C * H, P)
        patches = signal.unfold(-1, self.patch_samples, self.hop_samples).flatten(1, 2)
        return patches, self.position_code(positions_m, num_patches=num_patches)

    def layers(self, patches: Tensor, code: Tensor, *, visible: Tensor | None) -> list[Tensor]:
        """Return the depth + 1 layer outputs (B, V, D), the embedded patches first.

        Hidden patches are dropped before the embedding: they cost nothing and cannot leak.
        """
        if visible is not None:
            patches, code = take_tokens(patches, visible), take_tokens(code, visible)
        embedded = self.patch_embedding(patches) + code
        # The residual stream keeps the parameters' precision under autocast, on every device.
        states: list[Tensor] = self.transformer(embedded.to(self.patch_embedding.weight.dtype))
        return states


def _check_inputs(signal: Tensor, positions_m: Tensor) -> None:
    if signal.ndim != 3 or not signal.is_floating_point():
        raise InputError(
            "signal",
            found=f"{signal.dtype} {tuple(signal.shape)}",
            expected="a floating point tensor (batch, channels, samples)",
            do="Convert and normalise the signal before the model.",
        )
    expected = (*signal.shape[:2], 3)
    if positions_m.shape != expected or not positions_m.is_floating_point():
        raise InputError(
            "positions_m",
            found=f"{positions_m.dtype} {tuple(positions_m.shape)}",
            expected=f"a floating point tensor {expected}, one position per channel of the signal",
            do="Leave a channel out of signal and positions together, never of one alone.",
        )
    if positions_m.device.type == "cpu":
        check_positions(positions_m)
