"""What a result file says beside the figures: machine, load, versions, medians and spread."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

_PACKAGES = ("physioscale", "numpy", "scipy", "mne", "webdataset", "h5py", "torch")
# Above this load, others compute on the machine and absolute figures mean nothing.
_QUIET_LOAD = 0.5


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Return how far the values lie apart, as a share of their median."""
    middle = median(values)
    return f"{(max(values) - min(values)) / middle:.0%}" if middle else "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def load_now() -> float:
    """Return the machine's load of the last minute."""
    return os.getloadavg()[0]


def machine_lines(*, load_before: float, repeats: int, wall_s: float) -> list[str]:
    """Return what the figures were taken on and how."""
    cores = len(os.sched_getaffinity(0))
    state = (
        "quiet before the run"
        if load_before < _QUIET_LOAD
        else "LOADED by others before the run: only ratios within this file mean anything"
    )
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"- Machine: {_cpu_name()}, {cores} cores; load {load_before:.2f} ({state}).",
        f"- Python {platform.python_version()}, {versions}.",
        "- One thread in every numeric library. Each contender is a process of its own; they take",
        f"  turns, {repeats} repeats each; medians. The run took {wall_s / 60:.1f} minutes.",
        "- Page cache warm, local disk, no fsync but physioscale's own.",
    ]


def write(name: str, lines: Sequence[str], *, date: str) -> Path:
    """Write a result file and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date}-{name}.md"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
