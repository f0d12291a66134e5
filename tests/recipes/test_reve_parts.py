"""REVE, part by part: positional code, masking, and the network against a plain rewrite of it."""

import importlib
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from physioscale.errors import InputError
from physioscale.random import Draws
from physioscale.testing import spread_positions

reve = importlib.import_module("physioscale.recipes.reve.model")
decoder = importlib.import_module("physioscale.recipes.reve.decoder")
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


def as_mask(tokens: Tensor, *, num_tokens: int) -> Tensor:
    """Turn token indices (B, K) into a bool mask (B, N)."""
    mask = torch.zeros(len(tokens), num_tokens, dtype=torch.bool)
    return mask.scatter(1, tokens, True)


def forward(model: Any, *, noise: bool = False, channels: int = 6) -> Any:
    where = scalp_positions(channels, batch=3)
    masked = masking.mask_tokens(where, draws_for(3), num_patches=4)
    drawn = positions.draw_position_noise(draws_for(3), num_channels=channels) if noise else None
    signal = random_signal(3, channels, 740)
    return model(signal, where, masked=masked, position_noise_m=drawn)


# -- The positional code --------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "num_frequencies"), [(32, 2), (20, 2), (100, 3)])
def test_fourier_code_follows_its_formula(dim: int, num_frequencies: int) -> None:
    where = scalp_positions(4, batch=2)
    code = positions.fourier_code(where, num_patches=5, num_frequencies=num_frequencies, dim=dim)
    vectors = list(itertools.product(range(num_frequencies), repeat=4))[: dim // 2]
    k = torch.tensor(vectors, dtype=torch.float64)
    for channel, patch in itertools.product(range(4), range(5)):
        xyz = where[1, channel].double()
        q = torch.cat((xyz, torch.tensor([0.1 * patch]).double())) + 0.4
        phase = 2 * math.pi / 1.8 * (k @ q)
        expected = torch.cat((phase.cos(), phase.sin())).float()
        # Phases up to 2 * 8 rad in float32: a few units of 1e-6.
        torch.testing.assert_close(code[1, channel, patch], expected, rtol=0, atol=1e-5)


def test_time_code_repeats_after_18_patches() -> None:
    code = positions.fourier_code(
        scalp_positions(1, batch=1), num_patches=20, num_frequencies=3, dim=162
    )[0, 0]
    torch.testing.assert_close(code[18], code[0], rtol=0, atol=1e-5)
    assert (code[17] - code[0]).abs().max() > 0.1


def test_more_than_18_patches_warn() -> None:
    model = reve.ReveEncoder(**SMALL_ENCODER)
    with pytest.warns(UserWarning, match="19 patches per channel.*repeats after 18"):
        model(random_signal(1, 2, 200 + 18 * 180), scalp_positions(2, batch=1))


def test_too_few_frequencies_for_the_width_are_refused() -> None:
    # The authors' unused "tiny" configuration: 81 phases for half of 200.
    with pytest.raises(InputError, match="3 frequencies give 81 phases"):
        reve.ReveEncoder(dim=200, depth=4, num_heads=4, num_frequencies=3)


def test_position_noise_is_one_draw_of_2_5_mm_for_all_ranks() -> None:
    parts = [Draws(3, step=1, sample_index=torch.arange(4) + 4 * rank) for rank in range(2)]
    noise = [positions.draw_position_noise(part, num_channels=1000) for part in parts]
    assert torch.equal(noise[0], noise[1])
    # 3000 draws: five standard errors of the standard deviation are 6.5 %.
    assert noise[0].std() == pytest.approx(0.0025, rel=0.065)


# -- Masking --------------------------------------------------------------------------------------


def test_released_layout_numbers_pairs_by_time_first() -> None:
    where = scalp_positions(10, batch=2)
    channels, patches = 10, 4
    drawn = {
        layout: masking.mask_tokens(
            where, draws_for(2), num_patches=patches, mask_layout=layout
        ).masked
        for layout in ("blocks", "released")
    }
    channel, patch = drawn["blocks"] // patches, drawn["blocks"] % patches
    expected = (patch * channels + channel).sort(dim=1).values
    assert torch.equal(drawn["released"], expected)
    assert not torch.equal(drawn["released"], drawn["blocks"])


def test_masks_do_not_depend_on_how_the_batch_is_divided() -> None:
    where = scalp_positions(30, batch=8)
    whole = masking.mask_tokens(where, draws_for(8), num_patches=5)
    half = Draws(11, step=0, sample_index=torch.arange(4, 8))
    part = masking.mask_tokens(where[4:], half, num_patches=5)
    assert torch.equal(part.masked, whole.masked[4:])
    assert len({tuple(row) for row in whole.masked.tolist()}) == 8


def test_the_number_of_a_channel_does_not_decide_how_often_it_is_masked() -> None:
    # The authors' code cuts surplus channels by number, so the same electrode is masked more or
    # less often depending on where it stands in the file.
    batch, channels = 4000, 32
    where = 0.5 * scalp_positions(channels, batch=batch)  # close together: balls of many channels
    share = []
    for montage in (where, where.flip(1)):
        drawn = masking.mask_tokens(montage, draws_for(batch), num_patches=1)
        share.append(as_mask(drawn.masked, num_tokens=channels).float().mean(dim=0))
    # Five standard errors of the difference of two shares of 4000 draws.
    assert (share[0] - share[1].flip(0)).abs().max() < 5 * math.sqrt(2 * 0.25 / batch)


def test_channels_at_one_place_are_still_counted_exactly() -> None:
    where = torch.zeros(2, 9, 3)
    drawn = masking.mask_tokens(where, draws_for(2), num_patches=6)
    assert drawn.masked.shape == (2, 4 * 6)
    assert drawn.visible.shape == (2, 5 * 6)


@pytest.mark.parametrize(
    ("channels", "settings", "message"),
    [
        (1, {}, r"0 of 1 channel\(s\) would be masked"),
        (4, {"mask_ratio": 1.0}, r"4 of 4 channel\(s\) would be masked"),
        (9, {"dropout_ratio": 0.6}, "dropout_ratio: 0.6; expected between 0 and mask_ratio"),
        (9, {"mask_layout": "block"}, "'block'; did you mean 'blocks'"),
    ],
)
def test_impossible_masks_are_refused(
    channels: int, settings: dict[str, Any], message: str
) -> None:
    where = scalp_positions(channels, batch=1)
    with pytest.raises(InputError, match=message):
        masking.mask_tokens(where, draws_for(1), num_patches=3, **settings)


# -- The network ----------------------------------------------------------------------------------


def slow_rms_norm(x: Tensor, norm: Any) -> Tensor:
    normal = x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    scaled: Tensor = normal * norm.weight
    return scaled


def slow_block(x: Tensor, block: Any, *, heads: int, width: int) -> Tensor:
    """One block on the tokens (N, D) of one sample, a head at a time."""
    qkv = slow_rms_norm(x, block.attention.norm) @ block.attention.to_qkv.weight.T
    query, key, value = qkv.split(heads * width, dim=-1)
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weights = torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(width), dim=-1)
        out.append(weights @ value[:, part])
    x = x + torch.cat(out, dim=-1) @ block.attention.to_out.weight.T
    expanded = slow_rms_norm(x, block.feed_forward.norm) @ block.feed_forward.expand.weight.T
    first, second = expanded.chunk(2, dim=-1)
    gelu = 0.5 * second * (1 + torch.erf(second / math.sqrt(2)))
    out_of_block: Tensor = x + (first * gelu) @ block.feed_forward.contract.weight.T
    return out_of_block


def slow_code(model: Any, where: Tensor, *, num_patches: int) -> Tensor:
    """The positional code (N, D) of one sample, a token at a time."""
    part = model.encoder.position_code
    fourier = positions.fourier_code(
        where[None], num_patches=num_patches, num_frequencies=2, dim=SMALL["dim"]
    )[0]
    rows = []
    for channel, patch in itertools.product(range(len(where)), range(num_patches)):
        xyzt = torch.cat((where[channel], torch.tensor([float(patch)])))
        learned = part.branch[2](nn.functional.gelu(part.branch[0].weight @ xyzt))
        rows.append(part.norm(fourier[channel, patch] + learned))
    return torch.stack(rows)


def slow_loss(model: Any, signal: Tensor, where: Tensor, masked: Any) -> tuple[float, float]:
    """masked_l1 and pooled_l1 of one sample, written down from the paper's equations."""
    heads, width = SMALL["num_heads"], SMALL["head_dim"]
    num_patches = (signal.shape[1] - 200) // 180 + 1
    patches = torch.stack(
        [channel[180 * h : 180 * h + 200] for channel in signal for h in range(num_patches)]
    )
    code = slow_code(model, where, num_patches=num_patches)
    shown, hidden = masked.visible[0], masked.masked[0]
    states = [model.encoder.patch_embedding(patches[shown]) + code[shown]]
    for block in model.encoder.transformer.blocks:
        states.append(slow_block(states[-1], block, heads=heads, width=width))

    parts = model.decoder
    tokens = torch.empty(len(patches), SMALL["decoder_dim"])
    tokens[shown] = parts.token_projection(states[-1]) + parts.code_projection(code[shown])
    tokens[hidden] = parts.mask_token + parts.code_projection(code[hidden])
    for block in parts.transformer.blocks:
        tokens = slow_block(tokens, block, heads=heads, width=width)
    masked_l1 = (parts.to_samples(tokens[hidden]) - patches[hidden]).abs().mean()

    everything = torch.cat(states)
    scores = everything @ model.pool.query / math.sqrt(SMALL["dim"])
    pooled = torch.softmax(scores, dim=0) @ everything
    inner = ((pooled + code[hidden]) @ model.pooled_head[0].weight.T).clamp(min=0)
    pooled_l1 = (model.pooled_head[2](inner) - patches[hidden]).abs().mean()
    return masked_l1.item(), pooled_l1.item()


def test_loss_equals_a_plain_rewrite_of_the_network() -> None:
    model = build().train()
    with torch.no_grad():
        for parameter in model.parameters():  # far from the small first values, where parts vanish
            parameter.add_(0.1 * torch.randn_like(parameter))
        where, signal = scalp_positions(5, batch=1), random_signal(1, 5, 740)
        masked = masking.mask_tokens(where, draws_for(1), num_patches=4)
        out = model(signal, where, masked=masked)
        masked_l1, pooled_l1 = slow_loss(model, signal[0], where[0], masked)
    assert out.masked_l1.item() == pytest.approx(masked_l1, rel=1e-5)
    assert out.pooled_l1.item() == pytest.approx(pooled_l1, rel=1e-5)


def test_zero_l1_is_the_loss_of_predicting_zero() -> None:
    model = build().eval()
    nn.init.zeros_(model.decoder.to_samples.weight)
    nn.init.zeros_(model.decoder.to_samples.bias)
    out = forward(model)
    assert torch.equal(out.masked_l1, out.zero_l1)


def test_loss_does_not_depend_on_the_order_of_masked_tokens() -> None:
    model = build().eval()
    where, signal = scalp_positions(6, batch=2), random_signal(2, 6, 560)
    drawn = masking.mask_tokens(where, draws_for(2), num_patches=3)
    turned = masking.MaskedTokens(visible=drawn.visible.flip(1), masked=drawn.masked.flip(1))
    plain, other = (model(signal, where, masked=masked).loss for masked in (drawn, turned))
    torch.testing.assert_close(plain, other, rtol=0, atol=1e-6)


def test_pooling_is_attention_over_the_concatenated_layers() -> None:
    torch.manual_seed(0)
    pool = decoder.LayerPool(dim=8)
    nn.init.normal_(pool.query)
    states = list(random_signal(3, 2, 5, 8).unbind())
    everything = torch.cat(states, dim=1)
    weights = torch.softmax(everything @ pool.query / math.sqrt(8), dim=1)
    expected = (weights[..., None] * everything).sum(dim=1)
    torch.testing.assert_close(pool(states), expected)


def test_every_parameter_gets_a_gradient_in_training() -> None:
    model = build().train()
    forward(model, noise=True).loss.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_initialisation_follows_the_seed_and_the_cut_normal() -> None:
    first, second = build(dim=64, num_frequencies=3), build(dim=64, num_frequencies=3)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    linears = [
        module.weight.detach().flatten()
        for stack in (first.encoder.transformer, first.decoder.transformer)
        for module in stack.modules()
        if isinstance(module, nn.Linear)
    ]
    drawn = torch.cat([*linears, first.decoder.mask_token.detach(), first.pool.query.detach()])
    assert drawn.abs().max() <= 3 * 0.02
    # A normal cut at 3 sigma has 0.9866 of its standard deviation.
    assert drawn.std() == pytest.approx(0.9866 * 0.02, rel=0.02)
    assert first.encoder.patch_embedding.weight.abs().max() > 0.06


def test_masks_that_do_not_cover_the_window_are_refused() -> None:
    where = scalp_positions(6, batch=1)
    masked = masking.mask_tokens(where, draws_for(1), num_patches=2)
    with pytest.raises(InputError, match="6 visible and 6 masked tokens; expected both, 18"):
        build()(random_signal(1, 6, 560), where, masked=masked)


@pytest.mark.parametrize("signal", [torch.zeros(2, 400), torch.zeros(1, 2, 400, dtype=torch.int16)])
def test_a_signal_of_another_kind_is_refused(signal: Tensor) -> None:
    with pytest.raises(InputError, match="floating point tensor \\(batch, channels, samples\\)"):
        build().encode(signal, scalp_positions(2, batch=1))


def test_a_training_step_reads_no_value_back_from_the_device() -> None:
    # Meta tensors have no values: whatever would wait for a GPU fails on them.
    with torch.device("meta"):
        model = build().train()
        where, signal = torch.empty(2, 6, 3), torch.empty(2, 6, 740)
    draws = draws_for(2, device="meta")
    out = model(
        signal,
        where,
        masked=masking.mask_tokens(where, draws, num_patches=4),
        position_noise_m=positions.draw_position_noise(draws, num_channels=6),
    )
    out.loss.backward()
    assert out.loss.device.type == "meta"


def test_bfloat16_autocast_keeps_the_positional_phases_in_float32() -> None:
    model = build().train()
    where = scalp_positions(6, batch=1)
    settings = {"num_patches": 3, "num_frequencies": 2, "dim": 32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        code = positions.fourier_code(where, **settings)
        loss = forward(model, noise=True).loss
    assert torch.equal(code, positions.fourier_code(where, **settings))
    assert loss.dtype == torch.float32
    # bfloat16 keeps 8 bits; the loss is a mean over many errors of about 1.
    assert loss.item() == pytest.approx(forward(model, noise=True).loss.item(), rel=0.01)


def test_bfloat16_parameters_work_without_autocast() -> None:
    # DeepSpeed's bf16 casts the parameters; positions may come in either precision.
    model = build().train().bfloat16()
    where = scalp_positions(6, batch=2)
    masked = masking.mask_tokens(where, draws_for(2), num_patches=3)
    signal = random_signal(2, 6, 560).bfloat16()
    for positions_m in (where, where.bfloat16()):
        out = model(signal, positions_m, masked=masked)
        assert out.loss.dtype == torch.float32
        assert out.loss.isfinite()
