"""Contenders of a benchmark: each is a process of its own that waits for its turn.

The process imports what it needs, warms up, and then answers each word that it gets on standard
input with one line of JSON. So all contenders can take turns, repeat by repeat, and whatever else
the machine does meets all of them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]

# One thread in every numeric library: figures are per core, or per stated number of workers.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Answer = dict[str, Any]


class Contender:
    """A contender's process, from the outside; a context manager."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.name = " ".join((module, *arguments))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **THREADS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("start")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def ask(self, word: str) -> Answer:
        """Let the contender do what `word` stands for and return its answer.

        Raises:
            RuntimeError: the process ended instead.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._answer(word)

    def _answer(self, word: str) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at '{word}' with {self._process.wait()}")
        answer: Answer = json.loads(line)
        return answer


def serve(words: Mapping[str, Callable[[], Answer]], *, warm_up: Callable[[], object]) -> None:
    """Warm up, then answer words from standard input until it is closed.

    Runs in the contender's process. What the contender prints goes to standard error: standard
    output holds the answers alone.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    warm_up()
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(words[line.strip()]()), file=answers, flush=True)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all processes below it, user and system."""
    ticks = sum(_ticks(number) for number in _family(os.getpid()))
    return ticks / os.sysconf("SC_CLK_TCK")


def reset_peak() -> float:
    """Forget the largest resident set so far; return the present one (MB, 10^6 bytes)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def peak_mb() -> float:
    """Return the largest resident set of this process since `reset_peak` (MB)."""
    return _memory_mb("VmHWM")


def _memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def _family(number: int) -> list[int]:
    found = [number]
    for task in Path(f"/proc/{number}/task").iterdir():
        children = (task / "children").read_text().split()
        found += [one for child in children for one in _family(int(child))]
    return found


def _ticks(number: int) -> int:
    # The name of a process may hold spaces; it ends at the last parenthesis.
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:13])
