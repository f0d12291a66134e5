"""What REVE needs in pretraining beside its encoder: the decoder, and pooling over layers.

In:  encoder tokens (B, V, D) and positional codes (B, V, D), (B, M, D); for pooling the outputs of
     all layers, each (B, V, D).
Out: predicted patches (B, M, P), in units of the normalised signal; pooled vector (B, D).

Letters: B samples, V visible and M masked tokens, P samples per patch, D width of the encoder.
Source: El Ouahidi et al. 2025, arXiv 2510.21585, and the authors' released masked autoencoder.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .encoder import PATCH_SAMPLES
from .transformer import HEAD_DIM, MLP_RATIO, Transformer, init_parameter


class LayerPool(nn.Module):
    """One learned query attends to the tokens of all layers; there are no projections."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(dim))
        init_parameter(self.query)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return (B, D) from the layer outputs, each (B, V, D)."""
        # Scores per layer and one softmax over all of them equal attention over the concatenated
        # layers, without a copy of every layer's output.
        scores = [state @ self.query * self.query.shape[0] ** -0.5 for state in states]
        weights = torch.cat(scores, dim=1).softmax(dim=1).chunk(len(states), dim=1)
        # (B, 1, V) @ (B, V, D) -> (B, D), summed over layers
        parts = [w[:, None] @ state for w, state in zip(weights, states, strict=True)]
        return torch.stack(parts).sum(dim=0).squeeze(1)


class ReveDecoder(nn.Module):
    """Predict masked patches from encoder tokens and the positional code of both."""

    def __init__(
        self,
        *,
        encoder_dim: int,
        dim: int,
        depth: int,
        num_heads: int,
        head_dim: int = HEAD_DIM,
        mlp_ratio: float = MLP_RATIO,
        patch_samples: int = PATCH_SAMPLES,
    ) -> None:
        super().__init__()
        same = encoder_dim == dim
        self.token_projection = nn.Identity() if same else nn.Linear(encoder_dim, dim)
        self.code_projection = nn.Identity() if same else nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        init_parameter(self.mask_token)
        self.transformer = Transformer(
            dim=dim, depth=depth, num_heads=num_heads, head_dim=head_dim, mlp_ratio=mlp_ratio
        )
        self.to_samples = nn.Linear(dim, patch_samples)

    def forward(self, tokens: Tensor, *, visible_code: Tensor, masked_code: Tensor) -> Tensor:
        """Return (B, M, P) for encoder tokens (B, V, D) and codes (B, V, D), (B, M, D)."""
        visible = self.token_projection(tokens) + self.code_projection(visible_code)
        masked = self.mask_token + self.code_projection(masked_code)
        # Attention does not see the order of tokens, so masked ones may simply follow visible ones.
        joined = torch.cat((visible, masked), dim=1).to(self.mask_token.dtype)
        decoded = self.transformer(joined)[-1]
        samples: Tensor = self.to_samples(decoded[:, tokens.shape[1] :])
        return samples
