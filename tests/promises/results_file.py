"""The results of `make promises` for a person: machine, versions, and a row for each promise."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("physioscale", "torch", "numpy", "scipy", "mne", "webdataset", "pyarrow")
_LONGEST_REASON = 200
_NUM_PROMISES = 23


@dataclass
class Promise:
    """A promise and what came of it."""

    test: str
    number: str
    asked: str
    count: int
    """How often it is tried in full."""
    outcome: str = "not run"
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    def load(self, end: Mapping[str, Any] | None) -> None:
        """Take over what a journal says of the promise."""
        if end is not None:
            self.outcome = end["outcome"]
            self.seconds = end["seconds"]
            self.figures = dict(end.get("figures", {}))
            self.reason = end.get("reason", "")


def result_lines(promises: Sequence[Promise], *, date: str, root: Path, code: str) -> list[str]:
    """Return the lines of the results file."""
    head = ("promise", "asked", "count", "result", "time", "figures")
    rows = [head, ("---",) * len(head), *(_row(promise) for promise in promises)]
    outcomes = [promise.outcome for promise in promises]
    shown = {promise.number for promise in promises}
    without = [f"R{n}" for n in range(1, _NUM_PROMISES + 1) if f"R{n}" not in shown]
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in ("passed", "failed", "not run"))
    return [
        f"# Promises, {date}",
        "",
        *_machine_lines(root, code),
        f"- Result: {counts}.",
        f"- Not run, because no test with a full count shows them: {', '.join(without) or 'none'}.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        '`count` is how often a promise was tried, at its full figure. "not run" says that nothing '
        "is known of it from this run.",
    ]


def _row(promise: Promise) -> tuple[str, ...]:
    was_run = promise.outcome != "not run"
    figures = "; ".join(f"{name} {value}" for name, value in promise.figures.items())
    if promise.outcome == "failed":
        reason = " ".join(promise.reason.split())[:_LONGEST_REASON]
        figures = "; ".join(part for part in (reason, figures) if part)
    return (
        promise.number,
        _cell(promise.asked),
        f"{promise.count}" if was_run else f"0 of {promise.count}",
        promise.outcome,
        f"{promise.seconds:.0f} s" if was_run else "",
        _cell(figures),
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _machine_lines(root: Path, code: str) -> list[str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    load = f"{os.getloadavg()[0]:.1f}"
    return [
        f"- Machine: {_cpu_name()}, {cores} cores, {_memory_gb():.0f} GB; load {load} at the end.",
        f"- Python {platform.python_version()}, {versions}.",
        f"- Code: commit {_commit(root)}, content {code[:12]}.",
    ]


def _commit(root: Path) -> str:
    """Return the commit that is checked out, "unknown" outside of git, and whether files differ."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
