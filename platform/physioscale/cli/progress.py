"""Progress of a long job on standard error: a bar on a terminal, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress(what: str, *, total: int, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how much was done since its last call.

    Args:
        what: name of the job ("verify").
        total: how much there is to do.
        unit: what is counted ("steps"); "bytes" is shown as kB, MB, GB.
    """
    if sys.stderr.isatty():
        with _bar(what, total, unit) as advance:
            yield advance
    else:
        yield _lines(what, total, unit)


@contextmanager
def _bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = [TextColumn("{task.description}"), BarColumn(), count]
    if unit != "bytes":
        columns.append(TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def _lines(what: str, total: int, unit: str) -> Callable[[int], None]:
    done = 0
    last = time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, last
        done += more
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            share = 100 * done / max(total, 1)
            print(f"{what}: {share:.0f} % of {amount(total, unit)}", file=sys.stderr)

    return advance


def amount(count: int, unit: str) -> str:
    """Return a count with its unit: "37 steps", "1.2 GB"."""
    if unit != "bytes":
        return f"{count} {unit}".rstrip()
    value = float(count)
    for prefix in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.3g} {prefix}B"
        value /= 1000
    return f"{value:.3g} TB"
