"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from physioscale.tracking import Launch, Row, View


def progress_view(launch: Launch) -> View:
    """Return the view that fits standard output."""
    console = Console()
    # On a terminal that cannot move its cursor rich would show nothing at all.
    bar = console.is_terminal and not console.is_dumb_terminal
    return _Bar(launch, console) if bar else _Lines(launch)


def describe_row(row: Row) -> str:
    """Return what a person wants to see of a row with throughput."""
    return (
        f"loss {row['loss']:.4f}  lr {row['lr']:.2e}  {row['samples_per_s']:,.1f} samples/s  "
        f"{row['tokens_per_s']:,.0f} tokens/s  wait {100 * row['loader_wait_share']:.1f} %"
    )


class _Lines:
    """A line each time the metrics are written."""

    def __init__(self, launch: Launch) -> None:
        self._total = launch.config.trainer.max_steps

    def write(self, rows: Sequence[Row]) -> None:
        row = rows[-1]
        print(f"step {row['step']}/{self._total}  {describe_row(row)}", flush=True)

    def close(self) -> None:
        pass


class _Bar:
    """A bar over the steps of the whole run."""

    def __init__(self, launch: Launch, console: Console) -> None:
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
        )
        total = launch.config.trainer.max_steps
        self._task = self._progress.add_task("", total=total, completed=launch.first_step)
        self._progress.start()

    def write(self, rows: Sequence[Row]) -> None:
        row = rows[-1]
        self._progress.update(self._task, completed=row["step"], description=describe_row(row))

    def close(self) -> None:
        self._progress.stop()
