"""The task of a probe: which class each window has, and whose window it is.

A window takes the label of its recording: its `task`, or a key of its labels (participants table,
sidecars). Windows of recordings without that label are left out, and counted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from physioscale.errors import InputError, suggest
from physioscale.streaming import StreamRecording

IntArray = NDArray[np.int64]

TASK = "task"
# More distinct numbers than this are a quantity, not classes.
_MAX_NUMERIC_CLASSES = 10
_SHOWN = 12


@dataclass(frozen=True)
class Problem:
    """N labelled windows; classes, subjects and splits are numbered."""

    label: str
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    """`corpus/subject`: ids of different corpora are different people here."""
    windows: IntArray
    """(N,) places of the labelled windows among all windows."""
    class_of: IntArray
    """(N,)"""
    subject_of: IntArray
    """(N,)"""
    split_of: NDArray[np.str_]
    """(N,) train, val or test."""
    unlabelled: int
    """Windows that were left out because their recording has no such label."""


def make_problem(
    recordings: Sequence[StreamRecording], recording_of: IntArray, *, label: str
) -> Problem:
    """Return the labelled windows of `recordings`.

    Args:
        recordings: as the stream gives them.
        recording_of: (windows,) place of each window's recording in `recordings`.
        label: "task", or a key of the recordings' labels.

    Raises:
        InputError: no recording has that label, it is a quantity, or it has fewer than two values.
    """
    values = [_value(recording, label) for recording in recordings]
    _check_values(recordings, values, label)
    classes = sorted({value for value in values if value is not None})
    if len(classes) < 2:
        raise InputError(
            f"label {label!r}",
            found=f"one value, {classes[0]!r}, in all {len(recordings)} recordings",
            expected="at least two classes",
            do=f"Choose another label: {_listed(known_labels(recordings))}.",
        )
    class_of_recording = np.array([-1 if v is None else classes.index(v) for v in values])
    names = [f"{recording.corpus}/{recording.subject}" for recording in recordings]
    subjects = sorted(set(names))
    subject_of_recording = np.array([subjects.index(name) for name in names])
    splits = np.array([recording.split for recording in recordings])
    windows = np.flatnonzero(class_of_recording[recording_of] >= 0)
    chosen = recording_of[windows]
    return Problem(
        label=label,
        classes=tuple(classes),
        subjects=tuple(subjects),
        windows=windows,
        class_of=class_of_recording[chosen],
        subject_of=subject_of_recording[chosen],
        split_of=splits[chosen],
        unlabelled=len(recording_of) - len(windows),
    )


def _value(recording: StreamRecording, label: str) -> str | None:
    value = recording.task if label == TASK else recording.labels.get(label)
    return f"{value:g}" if isinstance(value, (int, float)) else value


def _check_values(
    recordings: Sequence[StreamRecording], values: Sequence[str | None], label: str
) -> None:
    if not any(value is not None for value in values):
        known = known_labels(recordings)
        raise InputError(
            f"label {label!r}",
            found=f"no recording that has it{suggest(label, known)}",
            expected=f"one of: {_listed(known)}" if known else "a label, but these have none",
            do="Name a label that the recordings have: `task`, or a participants' column."
            if known
            else "Put a labels.csv beside the files, or make a BIDS tree, and convert again.",
        )
    numbers = set() if label == TASK else {recording.labels.get(label) for recording in recordings}
    quantities = [value for value in numbers if isinstance(value, (int, float))]
    if len(quantities) > _MAX_NUMERIC_CLASSES:
        raise InputError(
            f"label {label!r}",
            found=f"{len(quantities)} different numbers ({min(quantities):g} to "
            f"{max(quantities):g})",
            expected=f"classes: words, or at most {_MAX_NUMERIC_CLASSES} different numbers",
            do="Choose another label, or group the numbers into classes before converting.",
        )


def known_labels(recordings: Sequence[StreamRecording]) -> list[str]:
    """Return the labels that any of the recordings has, most frequent first."""
    counts = Counter(
        name
        for recording in recordings
        for name, value in {TASK: recording.task, **recording.labels}.items()
        if value is not None
    )
    return [name for name, _ in counts.most_common()]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
