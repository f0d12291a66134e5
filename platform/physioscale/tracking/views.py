"""Views of metrics.jsonl: what shows the same rows elsewhere, and may fail without harm.

A view is written by rank 0 from the rows that were already appended to metrics.jsonl. If it
raises, training goes on: the failure is counted, the first one is logged, the next rows are tried.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from physioscale.config import RunConfig
from physioscale.tracking.rows import Row

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """What a view may want to know before the first row."""

    config: RunConfig
    folder: Path
    """The run folder."""
    attempt: int
    """Number of this launch of the run, from 1."""
    first_step: int
    """Updates taken by earlier launches."""
    last_step: int
    """Updates after which this launch ends."""


class View(Protocol):
    """Something that shows rows."""

    def write(self, rows: Sequence[Row]) -> None:
        """Show rows, oldest first."""

    def close(self) -> None:
        """End; what was shown stays."""


ViewFactory = Callable[[Launch], View]


class Views:
    """Several views, none of which can stop the run."""

    def __init__(self, factories: Sequence[ViewFactory], launch: Launch) -> None:
        self.failures = 0
        """Calls of views that raised."""
        self._named: list[tuple[str, View]] = []
        for factory in factories:
            name = getattr(factory, "__name__", type(factory).__name__)
            self._guard(name, lambda f=factory, n=name: self._named.append((n, f(launch))))  # type: ignore[misc]  # defaults bind the loop's values

    def write(self, rows: Sequence[Row]) -> None:
        """Show rows in every view."""
        for name, view in self._named:
            self._guard(name, lambda v=view: v.write(rows))  # type: ignore[misc]  # as above

    def close(self) -> None:
        """End every view."""
        for name, view in self._named:
            self._guard(name, view.close)

    def _guard(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                _log.warning(
                    "tracking: %s failed (%s: %s); training goes on, metrics.jsonl is complete",
                    name,
                    type(error).__name__,
                    error,
                )
