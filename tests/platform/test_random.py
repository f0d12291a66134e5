"""Counter-based draws against the published known answers, and their independence of layout."""

import pytest
import torch

from physioscale.random import Draws, philox4x32

# Known-answer vectors published with Random123 for philox4x32-10: counter, key, result.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_matches_the_published_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    words = tuple(torch.tensor([word]) for word in counter)
    assert philox4x32((words[0], words[1], words[2], words[3]), key)[0].tolist() == list(expected)


def test_draws_per_sample_do_not_depend_on_how_the_batch_is_divided() -> None:
    whole = Draws(7, step=3, sample_index=torch.arange(6))
    parts = [Draws(7, step=3, sample_index=torch.arange(6)[rank::2]) for rank in range(2)]
    drawn = torch.empty(6, 5)
    for rank, part in enumerate(parts):
        drawn[rank::2] = part.normal("noise", 5)
    assert torch.equal(drawn, whole.normal("noise", 5))


def test_purpose_step_seed_and_sample_each_change_the_draw() -> None:
    index = torch.arange(2)
    base = Draws(1, step=1, sample_index=index).uniform("mask", 64)
    others = [
        Draws(2, step=1, sample_index=index).uniform("mask", 64),
        Draws(1, step=2, sample_index=index).uniform("mask", 64),
        Draws(1, step=1 + 2**32, sample_index=index).uniform("mask", 64),
        Draws(1, step=1, sample_index=index).uniform("crop", 64),
        Draws(1, step=1, sample_index=index + 2).uniform("mask", 64),
    ]
    for other in others:
        assert not torch.isclose(base, other).any()
    assert not torch.isclose(base[0], base[1]).any()


def test_uniform_and_normal_have_their_moments() -> None:
    draws = Draws(0, step=0, sample_index=torch.arange(100))
    uniform = draws.uniform("u", 1000)
    normal = draws.normal("n", 1000)
    # 1e5 draws: five standard errors of the mean are 4.6e-3 (uniform) and 1.6e-2 (normal).
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4.6e-3
    assert abs(normal.mean()) < 1.6e-2
    assert abs(normal.std() - 1) < 1.2e-2


def test_a_batch_draw_is_shared_and_leaves_sample_draws_alone() -> None:
    first = Draws(5, step=9, sample_index=torch.arange(4))
    second = Draws(5, step=9, sample_index=torch.arange(4, 8))
    assert torch.equal(first.batch_normal("noise", 3, 2), second.batch_normal("noise", 3, 2))
    assert first.batch_uniform("noise", 2).shape == (2,)


def test_a_sample_index_that_is_not_an_int64_vector_is_refused() -> None:
    with pytest.raises(TypeError, match=r"int64 \(B,\)"):
        Draws(0, step=0, sample_index=torch.zeros(3))
