"""A request to stop: set by a signal, looked at between steps, agreed on by all ranks.

The handler sets a number and returns. Saving inside a handler would meet ranks at unlike steps and
a network half updated.
"""

import signal
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """The first SIGTERM or SIGINT of this process; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.signum = 0
        """The signal, or 0."""

    def install(self) -> None:
        """Take over the signals from whoever has them.

        Lightning notes the handlers when it starts and puts them back when it ends, after an error
        as well, so nothing is put back here. Only a process's main thread may set handlers; in
        another one signals stay as they are.
        """
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                signal.signal(name, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


class Agreement:
    """Lets all ranks see the largest number that any of them holds, once per step.

    With several ranks the exchange runs beside the step, through a group of its own on the CPU, so
    that nobody waits for the device; its result is known one step later.
    """

    def __init__(self, world_size: int) -> None:
        self._group: Any = None
        self._pending: tuple[torch.Tensor, Any] | None = None
        if world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo")

    def exchange(self, number: int) -> int:
        """Give this rank's number; return what all ranks gave at the call before."""
        if self._group is None:
            return number
        agreed = self.finish()
        tensor = torch.tensor([number])
        work = torch.distributed.all_reduce(
            tensor, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._pending = (tensor, work)
        return agreed

    def finish(self) -> int:
        """Wait for the exchange under way and return its result; 0 if there is none."""
        if self._pending is None:
            return 0
        tensor, work = self._pending
        work.wait()
        self._pending = None
        return int(tensor)
