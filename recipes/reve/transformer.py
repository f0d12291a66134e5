"""The pre-norm transformer block that encoder and decoder of REVE share.

In:  tokens (B, N, D).
Out: tokens (B, N, D); `Transformer` returns them once per layer, the input included.

Letters: B samples, N tokens, D width, A heads, E width of a head, m inner width of the GEGLU.
There is no dropout, no final norm and no class token. Attention is unmasked and knows nothing of
order, so permuted tokens give permuted outputs.
Source: El Ouahidi et al. 2025, arXiv 2510.21585; widths as in the authors' released configuration.
"""

import torch.nn.functional as F
from torch import Tensor, nn

RMS_NORM_EPS = 1e-6
HEAD_DIM = 64
MLP_RATIO = 2.66
INIT_STD = 0.02
INIT_CUT_STD = 3.0


def init_parameter(parameter: Tensor) -> None:
    """Draw first values: normal, std 0.02, cut at 3 std, from torch's global generator.

    This is REVE's initialisation: for the linears of both transformers, the mask token and the
    pooling query. Every other layer keeps torch's default. The authors' code holds a variant scaled
    by depth and never reaches it.
    """
    cut = INIT_CUT_STD * INIT_STD
    nn.init.trunc_normal_(parameter, std=INIT_STD, a=-cut, b=cut)


class Attention(nn.Module):
    """Multi-head softmax attention; the heads may together be wider than the tokens."""

    def __init__(self, *, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.norm = nn.RMSNorm(dim, eps=RMS_NORM_EPS)
        self.to_qkv = nn.Linear(dim, 3 * num_heads * head_dim, bias=False)
        self.to_out = nn.Linear(num_heads * head_dim, dim, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        # (B, N, D) -> (B, N, 3, A, E) -> three times (B, A, N, E)
        qkv = self.to_qkv(self.norm(x_BND)).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        # (B, A, N, E) -> (B, N, A * E) -> (B, N, D)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(-2))
        return out


class FeedForward(nn.Module):
    """GEGLU: the first half of the expansion, times GELU of the second half."""

    def __init__(self, *, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps=RMS_NORM_EPS)
        self.expand = nn.Linear(dim, 2 * inner_dim, bias=False)
        self.contract = nn.Linear(inner_dim, dim, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        # (B, N, D) -> (B, N, 2m) -> (B, N, m) -> (B, N, D)
        value, gate = self.expand(self.norm(x_BND)).chunk(2, dim=-1)
        out: Tensor = self.contract(value * F.gelu(gate))
        return out


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input."""

    def __init__(self, *, dim: int, num_heads: int, head_dim: int, inner_dim: int) -> None:
        super().__init__()
        self.attention = Attention(dim=dim, num_heads=num_heads, head_dim=head_dim)
        self.feed_forward = FeedForward(dim=dim, inner_dim=inner_dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.attention(x_BND)
        out: Tensor = x_BND + self.feed_forward(x_BND)
        return out


class Transformer(nn.Module):
    """A stack of blocks; the inner width of each GEGLU is int(mlp_ratio * dim)."""

    def __init__(
        self, *, dim: int, depth: int, num_heads: int, head_dim: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        inner_dim = int(mlp_ratio * dim)
        self.blocks = nn.ModuleList(
            Block(dim=dim, num_heads=num_heads, head_dim=head_dim, inner_dim=inner_dim)
            for _ in range(depth)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init_parameter(module.weight)

    def forward(self, x_BND: Tensor) -> list[Tensor]:
        """Return depth + 1 tensors (B, N, D): the input, then the output of every block."""
        states = [x_BND]
        for block in self.blocks:
            states.append(block(states[-1]))
        return states
