"""The 4-D positional code of REVE: where an electrode sits, and which patch in time.

In:  positions_m (B, C, 3) float32, metres, in a head frame as MNE's, with C3 near
     (-0.065, -0.012, 0.064); H, the number of patches per channel.
Out: code (B, C * H, D), channel-major: token c * H + h is patch h of channel c.

Letters: B samples, C channels, H patches per channel, D width, n frequencies per axis.
Two properties are kept because released weights depend on them. The time axis repeats after 18
patches (1.8 / 0.1) in every frequency, so beyond that only the small learned branch tells t from
t + 18. And a head in metres covers a small part of the 1.8 m period.
Source: El Ouahidi et al. 2025, arXiv 2510.21585, and the authors' released encoder.
"""

import math

import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.random import Draws

PERIOD_M = 1.8
MARGIN_M = 0.4
TIME_STEP = 0.1
PATCHES_PER_PERIOD = 18

POSITION_NOISE_STD_M = 0.0025
# No electrode lies a metre from the head's origin, and every scalp position given in centimetres or
# millimetres has a coordinate above 1. Ours.
MAX_COORDINATE_M = 1.0


def check_positions(positions_m: Tensor, *, where: str = "positions_m") -> None:
    """Refuse unknown coordinates and coordinates that cannot be metres.

    It reads values, so on a GPU it waits for the device: call it where positions enter (a batch's
    constructor), not in every step.

    Args:
        positions_m: (..., C, 3) metres.
        where: what the message names first, e.g. a recording.

    Raises:
        InputError: if a coordinate is NaN or infinite, or larger than 1 m.
    """
    unknown = ~positions_m.isfinite().all(dim=-1)
    if bool(unknown.any()):
        channels = unknown.reshape(-1, unknown.shape[-1]).any(dim=0).nonzero().flatten().tolist()
        raise InputError(
            where,
            found=f"no known position for {len(channels)} channel(s), first at {channels[:5]}",
            expected="finite x, y, z in metres for every channel",
            do="Leave these channels out, together with their signal, or supply their positions.",
        )
    largest = float(positions_m.abs().max())
    if largest > MAX_COORDINATE_M:
        raise InputError(
            where,
            found=f"a coordinate of {largest:g}",
            expected=f"metres, at most {MAX_COORDINATE_M:g} from the head's origin",
            do="Convert from mm (divide by 1000) or cm (divide by 100).",
        )


def draw_position_noise(
    draws: Draws, *, num_channels: int, std_m: float = POSITION_NOISE_STD_M
) -> Tensor:
    """Return (C, 3) float32 metres of Gaussian noise, one draw for the whole global batch."""
    return std_m * draws.batch_normal("reve.position_noise", num_channels, 3)


def fourier_code(
    positions_m: Tensor, *, num_patches: int, num_frequencies: int, dim: int
) -> Tensor:
    """Return cosines, then sines, of the first dim / 2 phases; without parameters.

    Phase k is (2 pi / 1.8) <k, q> with q = (x, y, z, 0.1 t) + 0.4, for every k in {0..n-1}^4; x is
    the slowest index and t the fastest.

    Args:
        positions_m: (B, C, 3) float32 metres.
        num_patches: H, patches per channel; t = 0 .. H-1.
        num_frequencies: n.
        dim: D, at most 2 n^4.

    Returns:
        (B, C, H, D) float32.
    """
    device = positions_m.device
    harmonics = torch.arange(num_frequencies, device=device) * (2 * math.pi / PERIOD_M)
    # (B, C, 3) -> x, y, z each (B, C, n). Products and sums instead of a matmul: TF32 and bf16 keep
    # too few bits of a phase, and autocast leaves these operations in float32.
    x, y, z = ((positions_m.float() + MARGIN_M)[..., None] * harmonics).unbind(dim=2)
    space = x[..., :, None, None] + y[..., None, :, None] + z[..., None, None, :]
    patch = torch.arange(num_patches, device=device, dtype=torch.float32)
    time = (patch * TIME_STEP + MARGIN_M)[:, None] * harmonics
    # (B, C, 1, n^3, 1) + (H, 1, n) -> (B, C, H, n^3, n) -> (B, C, H, D / 2)
    phases = (space.flatten(-3)[:, :, None, :, None] + time[:, None, :]).flatten(-2)
    phases = phases[..., : dim // 2]
    return torch.cat((phases.cos(), phases.sin()), dim=-1)


class PositionCode(nn.Module):
    """PE(p, t) = LayerNorm(F(p, t) + M(p, t)): Fourier code plus a learned branch."""

    def __init__(self, *, dim: int, num_frequencies: int) -> None:
        super().__init__()
        if dim % 2 or num_frequencies**4 < dim // 2:
            raise InputError(
                "num_frequencies",
                found=f"{num_frequencies} frequencies give {num_frequencies**4} phases",
                expected=f"at least half of dim = {dim}, and an even dim",
                do="Raise num_frequencies or make dim smaller.",
            )
        self.dim = dim
        self.num_frequencies = num_frequencies
        self.branch = nn.Sequential(nn.Linear(4, dim, bias=False), nn.GELU(), nn.LayerNorm(dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, positions_m: Tensor, *, num_patches: int) -> Tensor:
        """Return (B, C * H, D) for positions (B, C, 3) in metres."""
        batch, channels, _ = positions_m.shape
        time = torch.arange(num_patches, device=positions_m.device, dtype=positions_m.dtype)
        # (B, C, 3), (H,) -> (B, C, H, 4); the branch sees the raw patch number, not 0.1 t.
        coordinates = torch.cat(
            (
                positions_m[:, :, None].expand(batch, channels, num_patches, 3),
                time[:, None].expand(batch, channels, num_patches, 1),
            ),
            dim=-1,
        )
        dtype = self.norm.weight.dtype
        learned = self.branch(coordinates.to(dtype))
        fixed = fourier_code(
            positions_m,
            num_patches=num_patches,
            num_frequencies=self.num_frequencies,
            dim=self.dim,
        )
        # (B, C, H, D) -> (B, C * H, D)
        code: Tensor = self.norm(learned.to(dtype) + fixed.to(dtype)).flatten(1, 2)
        return code
