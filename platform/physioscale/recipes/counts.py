"""Parameter counts of a recipe's network, built on the meta device: no memory, no random numbers.

Out: counts of parameters (numbers, not bytes); a tensor shared by two modules counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from physioscale.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from physioscale.config import RunConfig
    from physioscale.recipes.loader import Recipe


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters of one network."""

    encoder: int
    total: int


def build_on_meta(recipe: Recipe, config: RunConfig) -> nn.Module:
    """Return the network of a configuration with shapes and without values.

    Raises:
        InputError: the sizes do not fit each other; the message is the network's own.
    """
    import torch

    build_model = recipe.parts.build_model
    try:
        with torch.device("meta"):
            return build_model(config.model)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"recipe '{config.recipe}', variant '{config.variant}': model",
            found=f"the network cannot be built: {error}",
            expected="sizes that fit each other",
            do="Correct the section model; `physioscale show` prints it.",
        ) from error


def count_parameters(recipe: Recipe, config: RunConfig) -> ParameterCounts:
    """Return the parameter counts of a configuration's network."""
    model = build_on_meta(recipe, config)
    total = sum(parameter.numel() for parameter in model.parameters())
    return ParameterCounts(encoder=recipe.parts.encoder_parameters(model), total=total)
