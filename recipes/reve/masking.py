"""Block masking of REVE: which tokens the encoder does not see.

In:  positions_m (B, C, 3) float32 metres; H patches per channel; keyed draws of the B samples.
Out: `MaskedTokens`: visible (B, V) and masked (B, M) int64 token indices, each sorted,
     V + M = C * H.

Letters: B samples, C channels, H patches per channel, G groups of patches that share a mask,
K = int(0.55 * C) channels masked in every group, so that V and M are the same for all samples.
Tokens are channel-major: index c * H + h. A pure function of positions and draws, without loops
over samples and, on a GPU, without waiting for the device.

Groups are consecutive blocks of 3 patches; each of the H mod 3 patches left over is a group of its
own. A group grows by balls: a random channel not yet masked becomes a seed, and every channel
within 3 cm of it is masked, until K are. Blocks of a sample start from one common "dropout" set of
int(0.10 * C) channels, grown in the same way with 4 cm; the patches left over start from nothing,
as in the authors' code.

The last ball seldom fits. It is cut from the outside: the members nearest to its seed stay, ties go
by the sample's random channel order. (The authors' code cuts the highest channel numbers, whatever
ball they belong to, so that these are masked less often.)
Source: El Ouahidi et al. 2025, arXiv 2510.21585, section on masking; the authors' data loader.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from physioscale.errors import InputError, suggest
from physioscale.random import Draws

from .positions import check_positions

MaskLayout = Literal["blocks", "released"]

MASK_RATIO = 0.55
BLOCK_PATCHES = 3
BALL_RADIUS_M = 0.03
DROPOUT_RATIO = 0.10
DROPOUT_RADIUS_M = 0.04


@dataclass(frozen=True)
class MaskedTokens:
    """Token indices of a batch: visible (B, V) and masked (B, M) int64, sorted along tokens."""

    visible: Tensor
    masked: Tensor


def mask_tokens(
    positions_m: Tensor,
    draws: Draws,
    *,
    num_patches: int,
    mask_ratio: float = MASK_RATIO,
    block_patches: int = BLOCK_PATCHES,
    ball_radius_m: float = BALL_RADIUS_M,
    dropout_ratio: float = DROPOUT_RATIO,
    dropout_radius_m: float = DROPOUT_RADIUS_M,
    mask_layout: MaskLayout = "blocks",
) -> MaskedTokens:
    """Draw the masked tokens of a batch.

    Args:
        positions_m: (B, C, 3) metres, without position noise.
        draws: the draws of these B samples.
        num_patches: H.
        mask_ratio: share of channels masked in every group of patches.
        block_patches: patches that share one mask.
        ball_radius_m: every channel within this distance of a seed is masked with it.
        dropout_ratio: share of channels that all blocks of a sample mask.
        dropout_radius_m: radius of the balls of that common set.
        mask_layout: "blocks" masks the drawn (channel, patch) pairs. "released" repeats a slip of
            the authors' code: the pairs are numbered h * C + c and these numbers taken as tokens
            c * H + h, which keeps the ratio but scatters the blocks unless C = H.

    Raises:
        InputError: if no channel or every channel would be masked, a setting is out of range, or
            (looked at on a CPU only) a position is unknown.
    """
    if positions_m.device.type == "cpu":
        check_positions(positions_m)
    channels = positions_m.shape[1]
    num_masked = _count_masked(channels, mask_ratio=mask_ratio)
    _check_settings(mask_ratio, dropout_ratio=dropout_ratio, mask_layout=mask_layout)
    distance = _distances(positions_m)
    blocks, left_over = divmod(num_patches, block_patches)

    dropout = grow_balls(
        distance,
        _random_order(draws.uniform("reve.mask_dropout", 1, channels)),
        num_masked=int(dropout_ratio * channels),
        radius_m=dropout_radius_m,
    )
    start = torch.cat(
        (dropout.expand(-1, blocks, -1), torch.zeros_like(dropout).expand(-1, left_over, -1)), dim=1
    )
    groups = grow_balls(
        distance,
        _random_order(draws.uniform("reve.mask_blocks", blocks + left_over, channels)),
        num_masked=num_masked,
        radius_m=ball_radius_m,
        start=start,
    )
    patch = torch.arange(num_patches, device=positions_m.device)
    in_block = patch < blocks * block_patches
    group = torch.where(in_block, patch // block_patches, patch - blocks * (block_patches - 1))
    # (B, G, C) -> (B, H, C)
    mask_BHC = groups.index_select(1, group)
    pairs = mask_BHC if mask_layout == "released" else mask_BHC.transpose(1, 2)
    return _as_indices(pairs.flatten(1), num_masked=num_masked * num_patches)


def grow_balls(
    distance_m: Tensor,
    order: Tensor,
    *,
    num_masked: int,
    radius_m: float,
    start: Tensor | None = None,
) -> Tensor:
    """Grow masks of exactly `num_masked` channels by balls around random seeds.

    The next seed is the unmasked channel of highest `order`. Growth runs for `num_masked` rounds,
    which always suffices as each adds its seed; which round first reached a channel, and at what
    distance, decides who stays. So nothing has to be counted on the way, and no round waits for
    the device. A round is about ten small kernels.

    Args:
        distance_m: (B, C, C) float64 metres between channels.
        order: (B, G, C) int64, a permutation of 0 .. C-1 for every sample and group.
        num_masked: channels to mask, at least as many as `start` holds.
        radius_m: radius of a ball in metres; a channel at exactly this distance belongs to it.
        start: (B, G, C) bool, True where a channel is masked from the outset.

    Returns:
        (B, G, C) bool, True = masked, exactly `num_masked` per row.
    """
    channels = order.shape[-1]
    reached = torch.zeros_like(order, dtype=torch.bool) if start is None else start.clone()
    # Rank of every channel: -1 for the start, then the round plus a fraction below 1: distance
    # first, then a share of the order too small to outweigh 0.1 mm. Unreached channels come last.
    tie = order.double() * (1e-3 / channels)
    rank = torch.full_like(tie, num_masked + 1.0).masked_fill(reached, -1.0)
    for growth_round in range(num_masked):
        seed = order.masked_fill(reached, -1).argmax(dim=-1, keepdim=True)
        # (B, C, C) at the seeds (B, G, 1) -> (B, G, C)
        to_seed = distance_m.gather(1, seed.expand(-1, -1, channels))
        new = (to_seed <= radius_m) & ~reached
        rank = torch.where(new, growth_round + 0.5 * to_seed / radius_m + tie, rank)
        reached = reached | new
    kept = rank.topk(num_masked, dim=-1, largest=False).indices
    return torch.zeros_like(reached).scatter(-1, kept, True)


def _count_masked(channels: int, *, mask_ratio: float) -> int:
    num_masked = int(mask_ratio * channels)
    if not 0 < num_masked < channels:
        raise InputError(
            "block masking",
            found=f"{num_masked} of {channels} channel(s) would be masked",
            expected="at least one masked and one visible channel",
            do="Leave out recordings with so few channels (at 0.55, two are the least).",
        )
    return num_masked


def _check_settings(mask_ratio: float, *, dropout_ratio: float, mask_layout: str) -> None:
    if not 0 <= dropout_ratio <= mask_ratio:
        raise InputError(
            "dropout_ratio",
            found=f"{dropout_ratio:g}",
            expected=f"between 0 and mask_ratio = {mask_ratio:g}",
            do="The common set is part of every block, so it cannot be the larger one.",
        )
    layouts = get_args(MaskLayout)
    if mask_layout not in layouts:
        raise InputError(
            "mask_layout",
            found=f"{mask_layout!r}{suggest(mask_layout, layouts)}",
            expected=" or ".join(layouts),
            do="Use 'blocks' unless the authors' run is to be repeated to the letter.",
        )


def _distances(positions_m: Tensor) -> Tensor:
    """Return (B, C, C) float64 metres; float64 so that devices agree on who is within a radius."""
    positions = positions_m.double()
    return (positions[:, :, None] - positions[:, None]).square().sum(dim=-1).sqrt()


def _random_order(uniform: Tensor) -> Tensor:
    """Turn draws (B, G, C) into permutations of 0 .. C-1; equal draws go by channel number."""
    return uniform.argsort(dim=-1, stable=True).argsort(dim=-1)


def _as_indices(mask_BN: Tensor, *, num_masked: int) -> MaskedTokens:
    # A stable sort of the mask lists visible tokens first, both parts in ascending order; unlike
    # nonzero, its output has a known size, so nothing waits for the device.
    tokens = mask_BN.to(torch.uint8).argsort(dim=-1, stable=True)
    num_visible = mask_BN.shape[1] - num_masked
    return MaskedTokens(visible=tokens[:, :num_visible], masked=tokens[:, num_visible:])
