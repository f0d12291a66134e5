"""Shuffled streaming, measured: windows per second, CPU time, and the wait at a resume."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.contenders import Answer, Contender
from tests.benchmarks.report import median, spread, table
from tests.benchmarks.streaming_data import BATCH, Shape, shapes, write_data

NAMES = (
    "webdataset, 2 workers",
    "h5py, 2 workers",
    "npy, 2 workers",
    "npy, in process",
    "physioscale, 1 thread",
    "physioscale, 2 threads",
)
_MODULE = "tests.benchmarks.streaming_contenders"
Answers = dict[str, dict[str, list[Answer]]]


def measure(*, repeats: int, quick: bool) -> list[str]:
    """Return the result's tables, in Markdown."""
    known = shapes(quick=quick)
    answers: Answers = {}
    for shape in known:
        with tempfile.TemporaryDirectory(prefix="physioscale-bench-") as root:
            write_data(shape, Path(root))
            answers[shape.name] = _take_turns(shape, root, repeats=repeats, quick=quick)
    return [*_speed_lines(known, answers), *_cpu_lines(known, answers), *_resume(known, answers)]


def _take_turns(shape: Shape, root: str, *, repeats: int, quick: bool) -> dict[str, list[Answer]]:
    words = ["--quick"] if quick else []
    answers: dict[str, list[Answer]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Contender(_MODULE, [name, shape.name, root, *words]))
            for name in NAMES
        }
        for _ in range(repeats):
            for name, process in processes.items():
                answers[name].append(process.ask("run") | process.ask("resume"))
    return answers


def _figure(answers: Answers, shape: Shape, name: str, key: str) -> float:
    return median([answer[key] for answer in answers[shape.name][name]])


def _speed_lines(known: list[Shape], answers: Answers) -> list[str]:
    peer = NAMES[0]
    rows = []
    for name in NAMES:
        cells = [name]
        for shape in known:
            rate = _figure(answers, shape, name, "windows_per_s")
            factor = rate / _figure(answers, shape, peer, "windows_per_s")
            apart = spread([a["windows_per_s"] for a in answers[shape.name][name]])
            cells.append(f"{factor:.2f} ({rate:.0f}/s, {apart})")
        rows.append(cells)
    return [
        f"## Windows per second, x webdataset (absolute, spread); batches of {BATCH}",
        "",
        *table(["contender", *(shape.name for shape in known)], rows),
        "",
        "physioscale must reach 6 x webdataset on each shape. It cuts windows from 60 s segments",
        "in an exact order and compares checksums; its batches are valid until the next one is",
        "asked for, those of the others may be kept.",
        "",
    ]


def _cpu_lines(known: list[Shape], answers: Answers) -> list[str]:
    rows = [
        [name, *(f"{_figure(answers, shape, name, 'cpu_s_per_1k'):.3f}" for shape in known)]
        for name in NAMES
    ]
    return [
        "## CPU seconds per 1000 windows, all processes",
        "",
        *table(["contender", *(shape.name for shape in known)], rows),
        "",
        "physioscale must need at most half of what h5py needs.",
        "",
    ]


def _resume(known: list[Shape], answers: Answers) -> list[str]:
    rows = [
        [name, *(f"{1000 * _figure(answers, shape, name, 'resume_s'):.0f}" for shape in known)]
        for name in NAMES
    ]
    sizes = ", ".join(str(shape.num_windows) for shape in known)
    return [
        "## Milliseconds from opening everything to the first batch at 90 % of an epoch",
        "",
        *table(["contender", *(shape.name for shape in known)], rows),
        "",
        f"physioscale must stay at or below 50 ms, exact, at any position. Epochs of {sizes}",
        "windows; webdataset reads and drops without decoding, so that its wait grows with the",
        "epoch. The peers resume in process, without starting workers.",
        "",
    ]
