"""A part of a network that nothing trains: its weights are float32 buffers, its mode is eval.

Parameters that are merely marked as frozen come to life again by `requires_grad_` on the whole, are
cast to bfloat16 by DeepSpeed, and `train()` on the whole turns their dropout on. Buffers are none
of that, on any strategy. The price: each rank holds them whole, also under ZeRO-3.
"""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from physioscale.errors import InputError


class Frozen(nn.Module):
    """A copy of `network` in eval mode, which stays as it is; gradients pass through to the input.

    Its state is named `network.<name>`, as with any wrapped module. Load weights into `network`
    before it is wrapped, or into the whole afterwards.

    Raises:
        InputError: if the network holds a recurrent layer of torch.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = parameters_as_buffers(network)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network returns for these arguments."""
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked for."""
        return super().train(False)


def parameters_as_buffers(network: nn.Module) -> nn.Module:
    """Return a copy of a network in which every parameter is a float32 buffer of the same name.

    Tied parameters share one buffer until the module is moved to another device.

    Raises:
        InputError: if the network holds a recurrent layer of torch, which keeps its parameters in
            a list of its own.
    """
    held = copy.deepcopy(network)
    shared: dict[nn.Parameter, Tensor] = {}
    for module in held.modules():
        if isinstance(module, nn.RNNBase):
            raise InputError(
                "frozen network",
                found=f"a layer {type(module).__name__}",
                expected="layers that take their weights from their own attributes",
                do="Leave recurrent layers out of teachers and frozen parts.",
            )
        for name, param in list(module._parameters.items()):
            if param is None:
                continue
            if param not in shared:
                shared[param] = param.detach().to(torch.float32, copy=True)
            del module._parameters[name]
            module.register_buffer(name, shared[param])
    return held
