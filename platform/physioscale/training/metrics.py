"""The metrics of the steps since the last flush, kept on the device.

In:  per micro-batch, named scalar tensors.
Out: per global step, their means over micro-batches and ranks, as Python floats.

Reading a GPU tensor waits for the device, so values are gathered and read once per flush: one
collective and one copy, whatever the number of steps.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from physioscale.errors import InputError

LOSS = "loss"


class StepRecorder:
    """Collects metrics of micro-batches into steps; M metrics, S steps since the last `take`."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._sum: Tensor | None = None
        self._parts = 0
        self._steps: list[Tensor] = []

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add the metrics of one micro-batch; each is a scalar.

        Raises:
            InputError: no metric `loss`, one that is not a scalar, or other names than before.
        """
        names = tuple(metrics)
        if names != self.names:
            self._check_names(names)
        values = torch.stack([_scalar(name, value) for name, value in metrics.items()])
        self._sum = values if self._sum is None else self._sum + values
        self._parts += 1

    def close_step(self) -> None:
        """End a global step: the mean of its micro-batches is one row of the next `take`."""
        assert self._sum is not None, "a step without a batch"
        self._steps.append(self._sum / self._parts)
        self._sum, self._parts = None, 0

    def take(self, reduce: Callable[[Tensor], Tensor]) -> list[dict[str, float]]:
        """Return the steps closed since the last call, oldest first.

        Args:
            reduce: (S, M) float32 of this rank -> the mean over all ranks.
        """
        if not self._steps:
            return []
        rows = reduce(torch.stack(self._steps)).tolist()
        self._steps = []
        return [dict(zip(self.names, row, strict=True)) for row in rows]

    def _check_names(self, names: tuple[str, ...]) -> None:
        if LOSS not in names or self.names:
            raise InputError(
                "loss(batch)",
                found=f"metrics {', '.join(names)}",
                expected=", ".join(self.names) if self.names else f"a metric named '{LOSS}'",
                do="Return the same names for every batch of a run, 'loss' among them.",
            )
        self.names = names


def _scalar(name: str, value: Tensor) -> Tensor:
    if value.ndim:
        raise InputError(
            f"metric '{name}'",
            found=f"a tensor of shape {tuple(value.shape)}",
            expected="a scalar",
            do="Take the mean in the recipe.",
        )
    return value.detach().float()
