"""REVE: the statements that a faithful recipe must show.

The conversion half of statement 8 (an all-NaN window is rejected) and statement 9 (batches by
channel count) concern the converters and the stream, and are tested there. What the parts of the
network promise beyond these statements is in `test_reve_parts.py`.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.optim import StableAdamW
from physioscale.random import Draws
from physioscale.testing import generate_eeg, spread_positions

reve = importlib.import_module("physioscale.recipes.reve.model")
masking = importlib.import_module("physioscale.recipes.reve.masking")
positions = importlib.import_module("physioscale.recipes.reve.positions")

HEAD_RADIUS_M = 0.095
SMALL_ENCODER: dict[str, Any] = {
    "dim": 32,
    "depth": 2,
    "num_heads": 2,
    "head_dim": 16,
    "num_frequencies": 2,
}
SMALL = {**SMALL_ENCODER, "decoder_dim": 48, "decoder_depth": 1, "decoder_heads": 2}


def scalp_positions(num_channels: int, *, batch: int) -> Tensor:
    """Return (B, C, 3) float32 metres, the same montage for every sample."""
    montage = torch.from_numpy(HEAD_RADIUS_M * spread_positions(num_channels)).float()
    return montage.expand(batch, -1, -1).clone()


def random_signal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draws_for(batch: int, *, step: int = 0, device: str = "cpu") -> Draws:
    return Draws(11, step=step, sample_index=torch.arange(batch, device=device))


def build(**changes: Any) -> Any:
    torch.manual_seed(0)
    return reve.Reve(**{**SMALL, **changes})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def as_mask(tokens: Tensor, *, num_tokens: int) -> Tensor:
    """Turn token indices (B, K) into a bool mask (B, N)."""
    mask = torch.zeros(len(tokens), num_tokens, dtype=torch.bool)
    return mask.scatter(1, tokens, True)


VARIANTS = {
    "small": ({"dim": 512, "depth": 4, "num_heads": 8, "num_frequencies": 4}, 12_667_392),
    "base": ({"dim": 512, "depth": 22, "num_heads": 8, "num_frequencies": 4}, 69_189_120),
    "large": ({"dim": 1216, "depth": 22, "num_heads": 19, "num_frequencies": 5}, 389_977_280),
    "large_paper": ({"dim": 1250, "depth": 22, "num_heads": 19, "num_frequencies": 5}, 408_388_750),
}


@pytest.mark.parametrize(("sizes", "counted"), VARIANTS.values(), ids=VARIANTS)
def test_statement_1_encoder_parameter_counts(sizes: dict[str, int], counted: int) -> None:
    with torch.device("meta"):
        model = reve.Reve(**sizes)
    assert count(model.encoder) == counted


def test_statement_1_parameters_of_base_used_in_pretraining_only() -> None:
    with torch.device("meta"):
        model = reve.Reve(**VARIANTS["base"][0])
    assert count(model.decoder.transformer) == 12_560_384
    assert model.decoder.mask_token.numel() == model.pool.query.numel() == 512
    assert count(model.decoder.to_samples) == 102_600
    assert count(model.pooled_head) == 1_458_376
    assert count(model) - count(model.encoder) == 14_122_384


@pytest.mark.parametrize(("samples", "tokens"), [(2000, 209), (1999, 190), (200, 19)])
def test_statement_2_token_count_of_19_channels(samples: int, tokens: int) -> None:
    model = reve.ReveEncoder(**SMALL_ENCODER)
    out = model(random_signal(2, 19, samples), scalp_positions(19, batch=2))
    assert out.shape == (2, tokens, SMALL_ENCODER["dim"])


def test_statement_2_window_below_one_patch_is_refused() -> None:
    with pytest.raises(InputError, match="199 samples; expected at least 200 samples"):
        build().encode(random_signal(1, 4, 199), scalp_positions(4, batch=1))


def test_statement_3_permuted_channels_permute_tokens_and_keep_the_pooled_vector() -> None:
    model = build().eval()
    channels, patches = 7, 4
    signal, where = random_signal(2, channels, 740), scalp_positions(channels, batch=2)
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    with torch.no_grad():
        plain = model.encode(signal, where)
        permuted = model.encode(signal[:, order], where[:, order])
    expected = plain.tokens.reshape(2, channels, patches, -1)[:, order].flatten(1, 2)
    torch.testing.assert_close(permuted.tokens, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(permuted.pooled, plain.pooled, rtol=0, atol=1e-5)
    assert not torch.allclose(plain.tokens, permuted.tokens, atol=1e-2)


def test_statement_4_shifted_positions_change_every_token() -> None:
    model = build().eval()
    signal, where = random_signal(1, 5, 560), scalp_positions(5, batch=1)
    with torch.no_grad():
        change = model.encode(signal, where).tokens - model.encode(signal, where + 0.01).tokens
    assert change.abs().amax(dim=-1).min() > 1e-4


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_statement_4_unknown_positions_are_refused(bad: float) -> None:
    where = scalp_positions(6, batch=2)
    where[1, 4, 0] = bad
    message = r"no known position for 1 channel\(s\), first at \[4\]"
    calls: tuple[Callable[[], Any], ...] = (
        lambda: build().encode(random_signal(2, 6, 200), where),
        lambda: reve.ReveEncoder(**SMALL_ENCODER)(random_signal(2, 6, 200), where),
        lambda: masking.mask_tokens(where, draws_for(2), num_patches=3),
    )
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()


def test_statement_4_positions_never_fewer_than_channels() -> None:
    with pytest.raises(InputError, match=r"\(1, 5, 3\); expected .*\(1, 6, 3\)"):
        build().encode(random_signal(1, 6, 200), scalp_positions(5, batch=1))


def test_statement_4_positions_in_millimetres_are_refused() -> None:
    with pytest.raises(InputError, match="expected metres"):
        positions.check_positions(1000 * scalp_positions(6, batch=1))


def is_union_of_balls(masked: Tensor, near: Tensor) -> bool:
    """Say whether a channel mask (C,) is a union of whole balls and a part of one more."""
    whole = ~(near & ~masked).any(dim=1)  # balls that lie inside the mask
    rest = masked & ~near[whole].any(dim=0)
    return bool((~(rest & ~near).any(dim=1) & masked).any())


def test_statement_5_blocks_of_masked_tokens_are_unions_of_3_cm_balls() -> None:
    batch, channels, patches = 4, 128, 11
    where = scalp_positions(channels, batch=batch)
    near = torch.cdist(where[0].double(), where[0].double()) <= 0.03
    assert near.sum(dim=1).min() >= 3  # or every set would be a union of balls
    drawn = {
        layout: masking.mask_tokens(
            where, draws_for(batch), num_patches=patches, dropout_ratio=0.0, mask_layout=layout
        )
        for layout in ("blocks", "released")
    }
    per_channel = int(0.55 * channels)
    found = {}
    for layout, tokens in drawn.items():
        # Token c * H + h -> (channel, patch).
        mask = as_mask(tokens.masked, num_tokens=channels * patches)
        mask = mask.reshape(batch, channels, patches)
        blocks = [mask[:, :, start : start + 3] for start in (0, 3, 6)]
        leftovers = [mask[:, :, 9:10], mask[:, :, 10:11]]
        same = all((block == block[:, :, :1]).all() for block in blocks)
        counts = {int(n) for group in blocks + leftovers for n in group.sum(dim=1).flatten()}
        balls = [
            is_union_of_balls(group[sample, :, 0], near)
            for group in blocks + leftovers
            for sample in range(batch)
        ]
        found[layout] = (same, counts == {per_channel}, all(balls))
    assert found == {"blocks": (True, True, True), "released": (False, False, False)}


@pytest.mark.parametrize(("channels", "patches"), [(128, 11), (19, 11), (7, 2), (2, 1), (60, 3)])
def test_statement_5_masks_equal_a_slow_reference_with_the_dropout_set(
    channels: int, patches: int
) -> None:
    batch = 3
    where = scalp_positions(channels, batch=batch)
    drawn = masking.mask_tokens(where, draws_for(batch), num_patches=patches)
    blocks = patches // 3
    groups = blocks + patches % 3
    dropout = draws_for(batch).uniform("reve.mask_dropout", 1, channels)
    grown = draws_for(batch).uniform("reve.mask_blocks", groups, channels)
    for sample in range(batch):
        xyz = where[sample].double()
        common = slow_balls(xyz, dropout[sample, 0], int(0.10 * channels), 0.04, start=set())
        tokens = set()
        for patch in range(patches):
            group = patch // 3 if patch < 3 * blocks else patch - 2 * blocks
            start = common if group < blocks else set()
            mask = slow_balls(xyz, grown[sample, group], int(0.55 * channels), 0.03, start=start)
            tokens |= {channel * patches + patch for channel in mask}
        assert drawn.masked[sample].tolist() == sorted(tokens)
        assert drawn.visible[sample].tolist() == sorted(set(range(channels * patches)) - tokens)


def slow_balls(
    xyz: Tensor, uniform: Tensor, num_masked: int, radius_m: float, *, start: set[int]
) -> set[int]:
    """Grow one mask as the text says: seed by seed, the last ball cut from the outside."""
    masked = set(start)
    for seed in uniform.argsort(descending=True).tolist():
        if seed in masked:
            continue
        distance = (xyz - xyz[seed]).norm(dim=1)
        ball = [c for c in distance.argsort().tolist() if distance[c] <= radius_m]
        new = [c for c in ball if c not in masked]
        masked.update(new[: num_masked - len(masked)])
        if len(masked) == num_masked:
            break
    return masked


def test_statement_6_masked_samples_do_not_reach_the_encoder() -> None:
    batch, channels, patches, samples = 2, 9, 5, 920
    model = build().eval()
    signal, where = random_signal(batch, channels, samples), scalp_positions(channels, batch=batch)
    drawn = masking.mask_tokens(where, draws_for(batch), num_patches=patches)
    # Neighbouring patches share samples; only those of no visible patch are hidden.
    visible = as_mask(drawn.visible, num_tokens=channels * patches)
    visible = visible.reshape(batch, channels, patches)
    seen = torch.zeros(batch, channels, samples, dtype=torch.bool)
    for patch in range(patches):
        seen[:, :, 180 * patch : 180 * patch + 200] |= visible[:, :, patch, None]
    assert 0.4 < (~seen).float().mean() < 0.6
    noise = random_signal(batch, channels, samples, seed=1)
    with torch.no_grad():
        tokens = model.encoder(signal, where, visible=drawn.visible)
        hidden = torch.where(seen, signal, noise)
        shown = torch.where(seen, noise, signal)
        assert torch.equal(model.encoder(hidden, where, visible=drawn.visible), tokens)
        assert not torch.equal(model.encoder(shown, where, visible=drawn.visible), tokens)


def forward(model: Any, *, noise: bool = False, channels: int = 6) -> Any:
    where = scalp_positions(channels, batch=3)
    masked = masking.mask_tokens(where, draws_for(3), num_patches=4)
    drawn = positions.draw_position_noise(draws_for(3), num_channels=channels) if noise else None
    signal = random_signal(3, channels, 740)
    return model(signal, where, masked=masked, position_noise_m=drawn)


def test_statement_7_only_training_has_the_pooled_term() -> None:
    model = build()
    training, evaluation = forward(model.train()), forward(model.eval())
    assert evaluation.pooled_l1 is None
    assert evaluation.loss is evaluation.masked_l1
    assert torch.equal(training.masked_l1, evaluation.masked_l1)
    torch.testing.assert_close(training.loss, training.masked_l1 + 0.1 * training.pooled_l1)


def test_statement_7_noise_changes_training_and_is_refused_in_evaluation() -> None:
    model = build()
    assert forward(model.train(), noise=True).loss != forward(model.train()).loss
    with pytest.raises(InputError, match="in evaluation mode"):
        forward(model.eval(), noise=True)


def test_statement_7_positions_of_the_caller_are_not_written_to() -> None:
    model = build().train()
    where = scalp_positions(6, batch=2)
    before = where.clone()
    model(
        random_signal(2, 6, 560),
        where,
        masked=masking.mask_tokens(where, draws_for(2), num_patches=3),
        position_noise_m=positions.draw_position_noise(draws_for(2), num_channels=6),
    )
    model.encode(random_signal(2, 6, 560), where)
    assert torch.equal(where, before)


def test_statement_8_a_flat_channel_gives_finite_loss_and_gradients() -> None:
    # Normalised, a channel of standard deviation 0 is all zeros.
    model = build().train()
    where = scalp_positions(6, batch=2)
    signal = random_signal(2, 6, 560)
    signal[:, 2] = 0
    loss = model(signal, where, masked=masking.mask_tokens(where, draws_for(2), num_patches=3)).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.encode(torch.zeros(2, 6, 560), where).pooled.isfinite().all()


def test_statement_10_loss_falls_on_64_samples_with_2_layers() -> None:
    torch.manual_seed(0)
    channels, steps = 8, 150
    scalp = spread_positions(channels)
    eeg = generate_eeg(scalp, duration_s=64 * 2.8, sampling_rate_hz=200, seed=0, eyes_closed=True)
    signal = torch.from_numpy(eeg).float()
    signal = (signal - signal.mean(dim=1, keepdim=True)) / signal.std(dim=1, keepdim=True)
    windows = signal.reshape(channels, 64, 560).transpose(0, 1)
    where = scalp_positions(channels, batch=64)
    model = reve.Reve(**{**SMALL, "dim": 64, "decoder_dim": 64, "num_frequencies": 3}).train()
    optimizer = StableAdamW(model.parameters(), lr=3e-3, betas=(0.92, 0.999), eps=1e-9)
    masked_l1 = []
    for step in range(steps):
        batch = slice(32 * (step % 2), 32 * (step % 2) + 32)
        # Over-fitting: the same 64 windows with the same masks again and again.
        masked = masking.mask_tokens(where[batch], draws_for(32, step=step % 2), num_patches=3)
        out = model(windows[batch], where[batch], masked=masked)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        masked_l1.append(out.masked_l1.item())
    first, last = sum(masked_l1[:10]) / 10, sum(masked_l1[-10:]) / 10
    assert last < 0.85 * first
    assert last < 0.9 * out.zero_l1
