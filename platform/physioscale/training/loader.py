"""The stream's batches as Lightning wants to see them.

Lightning would look into a batch and convert its tensors (to bf16, under DeepSpeed), and it counts
batches by `len`. Both are answered here: a batch travels in a `Parcel`, which Lightning does not
look into, and the loader has the exact length of the launch.
"""

from collections.abc import Iterator

import torch

from physioscale.streaming import Batch, StepLoader


class Parcel:
    """A batch on its way to the device; its memory belongs to the stream's ring."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._copied: torch.cuda.Event | None = None

    def unpack(self, device: torch.device) -> Batch:
        """Return the batch on `device`; from pinned memory the copy is not waited for."""
        moved = self._batch.to(device, non_blocking=device.type == "cuda")
        if device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
            self._copied.record()
        return moved

    def wait(self) -> None:
        """Wait until the batch has left the ring's memory, which is filled again next.

        The copy stands in the device's queue behind the previous step, so at most this keeps the
        process from running more than one step ahead.
        """
        if self._copied is not None:
            self._copied.synchronize()


class TrainLoader:
    """The micro-batches of one launch: global steps [first_step, last_step)."""

    def __init__(self, batches: StepLoader, *, first_step: int, last_step: int) -> None:
        self._batches = batches
        self._length = (last_step - first_step) * batches.accumulation

    @property
    def wait_s(self) -> float:
        """Seconds that training has waited for batches so far."""
        return self._batches.wait_s

    @property
    def damaged(self) -> dict[int, str]:
        """Windows of this rank that could not be read and were replaced: number -> why."""
        return self._batches.damaged

    def __len__(self) -> int:
        # Without a length Lightning would prefetch a batch, and the position would be one ahead.
        return self._length

    def __iter__(self) -> Iterator[Parcel]:
        for batch in self._batches:
            parcel = Parcel(batch)
            yield parcel
            parcel.wait()
