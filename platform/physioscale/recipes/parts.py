"""What a recipe's `training.py` hands to the platform: one constant `RECIPE`.

The platform never imports a recipe by name and never asks what it is called; everything it needs to
know of one is in these fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from physioscale.config import RunConfig


@dataclass(frozen=True)
class RecipeParts:
    """The builders of one recipe.

    Example, at the end of a recipe's `training.py`:

        RECIPE = RecipeParts(
            model_config=ModelConfig,
            objective_config=ObjectiveConfig,
            build_model=build_model,
            lightning_module=MaskedPretraining,
            encoder_parameters=encoder_parameters,
            tokens_per_window=tokens_per_window,
        )
    """

    model_config: type
    """Dataclass of the `model` section."""
    objective_config: type
    """Dataclass of the `objective` section."""
    build_model: Callable[[Any], nn.Module]
    """An instance of `model_config` -> the network. Works under `torch.device("meta")`: counting
    the parameters of a large variant must not need its memory."""
    lightning_module: Callable[[nn.Module, RunConfig], Any]
    """(network, configuration) -> the module that Lightning trains."""
    encoder_parameters: Callable[[nn.Module], int]
    """The network -> number of parameters of its encoder; the platform counts the total."""
    tokens_per_window: Callable[[RunConfig, int], int]
    """(configuration, number of channels) -> tokens of one window of `data.window_s`."""
