"""Conversion, measured: speed per core, closeness to MNE, and memory."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.contenders import Answer, Contender
from tests.benchmarks.conversion_data import (
    WARM_UP,
    Corpus,
    corpora,
    longer,
    write_corpus,
    write_reference,
)
from tests.benchmarks.report import median, spread, table

NAMES = ("mne", "physioscale", "limit")
_MODULE = "tests.benchmarks.conversion_contenders"
Answers = dict[str, dict[str, list[Answer]]]


def measure(*, repeats: int, quick: bool) -> list[str]:
    """Return the result's tables, in Markdown."""
    with tempfile.TemporaryDirectory(prefix="physioscale-bench-") as name:
        folder = Path(name)
        known = corpora(quick=quick)
        grown = longer(known[1])
        for corpus in (WARM_UP, *known, grown):
            write_corpus(corpus, folder)
        for corpus in known:
            write_reference(corpus, folder)
        answers = {
            corpus.name: _take_turns(corpus, folder, repeats=repeats, quick=quick)
            for corpus in known
        }
        with _contender("physioscale", grown, folder, quick=quick) as process:
            grown_mb = float(process.ask("run")["above_start_mb"])
    return [
        *_speed_lines(known, answers),
        *_accuracy_lines(known, answers),
        *_memory_lines(known, answers, grown, grown_mb),
    ]


def _take_turns(
    corpus: Corpus, folder: Path, *, repeats: int, quick: bool
) -> dict[str, list[Answer]]:
    """Return each contender's answers; its accuracy stands in the last one."""
    answers: dict[str, list[Answer]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_contender(name, corpus, folder, quick=quick))
            for name in NAMES
        }
        for _ in range(repeats):
            for name, process in processes.items():
                answers[name].append(process.ask("run"))
        for name, process in processes.items():
            answers[name][-1] |= process.ask("accuracy")
    return answers


def _contender(name: str, corpus: Corpus, folder: Path, *, quick: bool) -> Contender:
    words = [name, corpus.name, str(folder), *(["--quick"] if quick else [])]
    return Contender(_MODULE, words)


def _total(answers: Answers, name: str, key: str) -> float:
    """Return the sum over the corpora of the median of a figure."""
    return sum(median([answer[key] for answer in one[name]]) for one in answers.values())


def _speed_lines(known: list[Corpus], answers: Answers) -> list[str]:
    hours = sum(corpus.channel_hours for corpus in known)
    head = ["contender", "channel-hours/s", "x mne", *(f"{r.name}" for r in known)]
    rows = []
    for name in NAMES:
        cells = [f"{hours / _total(answers, name, 'wall_s'):.1f}"]
        cells.append(_both(*(_total_ratio(answers, name, key) for key in ("wall_s", "cpu_s"))))
        for corpus in known:
            one = answers[corpus.name]
            apart = spread([answer["wall_s"] for answer in one[name]])
            both = _both(*(_ratio(one, name, key) for key in ("wall_s", "cpu_s")))
            cells.append(f"{both}, {apart}")
        rows.append([name, *cells, f"{_total(answers, name, 'stored_mb'):.0f}"])
    return [
        "## Speed, one process: x mne by wall time (by CPU time), spread of the wall time",
        "",
        *table([*head, "stored MB"], rows),
        "",
        "physioscale must reach 5 x mne with checksums, statistics and quality on.",
        "",
    ]


def _both(wall: float, cpu: float) -> str:
    return f"{wall:.2f} ({cpu:.2f})"


def _total_ratio(answers: Answers, name: str, key: str) -> float:
    return _total(answers, "mne", key) / _total(answers, name, key)


def _ratio(answers: Mapping[str, list[Answer]], name: str, key: str) -> float:
    return median([a[key] for a in answers["mne"]]) / median([a[key] for a in answers[name]])


def _accuracy_lines(known: list[Corpus], answers: Answers) -> list[str]:
    head = ["contender", *(corpus.name for corpus in known)]
    rows = [
        [name, *(f"{answers[r.name][name][-1]['relative_rms']:.1e}" for r in known)]
        for name in NAMES
    ]
    return [
        "## Relative RMS in 1-90 Hz against MNE with exact padding, as read from the shards",
        "",
        *table(head, rows),
        "",
        "physioscale must stay at or below 1e-4. The row of mne is its default padding, which",
        "shifts the signal wherever a power of two is no whole number of output samples.",
        "",
    ]


def _memory_lines(
    known: list[Corpus], answers: Answers, grown: Corpus, grown_mb: float
) -> list[str]:
    head = ["contender", *(corpus.name for corpus in known), grown.name]
    rows = []
    for name in NAMES:
        peaks = [max(a["above_start_mb"] for a in answers[r.name][name]) for r in known]
        last = f"{grown_mb:.0f}" if name == "physioscale" else "-"
        rows.append([name, *(f"{peak:.0f}" for peak in peaks), last])
    return [
        "## Resident set above start, MB",
        "",
        *table(head, rows),
        "",
        "physioscale must stay at or below 210 MB and not grow with the length; the",
        "last column is the second kind, one recording four times as long.",
        "",
    ]
