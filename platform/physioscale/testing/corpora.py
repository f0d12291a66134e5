"""Small corpora of synthetic EEG on disc, and what is true of them.

In:  a folder, the number of subjects, a seed.
Out: EDF files as a BIDS tree or as a plain folder, and a `CorpusTruth` to compare against.

Each subject has two recordings, task `eyesopen` and task `eyesclosed`; alpha at the back of the
head tells them apart, so a linear probe on the task has something to find. Alpha frequency and
amplitudes belong to the subject. The same arguments give the same bytes on one machine.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from physioscale.testing.damage import truncate
from physioscale.testing.edf import write_edf
from physioscale.testing.signals import TEN_TWENTY_19, generate_eeg, ten_twenty_positions

TASKS = ("eyesopen", "eyesclosed")
_EVENT_LABELS = {"eyesopen": "eyes_open", "eyesclosed": "eyes_closed"}
_EVENT_S = 10.0


@dataclass(frozen=True)
class EventTruth:
    """A block of one label; onset from the recording's start."""

    onset_s: float
    duration_s: float
    label: str


@dataclass(frozen=True)
class RecordingTruth:
    """One sound recording; `subject` is the name without the prefix "sub-"."""

    path: Path
    subject: str
    task: str
    age: int
    sex: Literal["F", "M"]
    sampling_rate_hz: float
    num_samples: int
    channel_names: tuple[str, ...]
    events: tuple[EventTruth, ...]


@dataclass(frozen=True)
class CorpusTruth:
    """What was written: the sound recordings, and the files that no reader can open."""

    root: Path
    recordings: tuple[RecordingTruth, ...]
    broken: tuple[Path, ...]


@dataclass(frozen=True)
class _Subject:
    name: str
    age: int
    sex: Literal["F", "M"]
    alpha_hz: float
    gain: float
    seed: int


@dataclass(frozen=True)
class _Plan:
    """What all recordings of a corpus share."""

    duration_s: float
    sampling_rate_hz: float
    channel_names: tuple[str, ...]
    line_hz: float


def write_bids_corpus(
    root: Path,
    *,
    num_subjects: int = 4,
    duration_s: float = 60.0,
    sampling_rate_hz: float = 256.0,
    seed: int = 0,
    channel_names: Sequence[str] = TEN_TWENTY_19,
    line_hz: float = 50.0,
    broken: bool = False,
) -> CorpusTruth:
    """Write a BIDS tree: sub-01/eeg/sub-01_task-eyesopen_eeg.edf and its sidecars, and so on.

    Args:
        root: the corpus folder, made where it is missing.
        num_subjects: each has one recording per task.
        duration_s: length of every recording, in whole seconds.
        sampling_rate_hz: the rate of every recording, in whole hertz.
        seed: subjects 1 to N of a seed are the same for every `num_subjects` >= N.
        channel_names: electrodes of the 10-20 system.
        line_hz: line frequency, stated in the sidecars too.
        broken: add one more subject whose single file ends inside its header.
    """
    plan = _Plan(duration_s, sampling_rate_hz, tuple(channel_names), line_hz)
    subjects = _subjects(num_subjects + broken, seed)
    recordings = []
    for subject in subjects[:num_subjects]:
        for task in TASKS:
            path = _bids_path(root, subject, task)
            recordings.append(_write_recording(path, subject, task, plan))
            _write_sidecars(recordings[-1], plan)
    lost = [
        _write_broken(_bids_path(root, one, TASKS[0]), one, plan) for one in subjects[num_subjects:]
    ]
    rows = [(f"sub-{one.name}", str(one.age), one.sex) for one in subjects]
    _write_table(root / "participants.tsv", ("participant_id", "age", "sex"), rows, separator="\t")
    _write_json(
        root / "dataset_description.json",
        {"Name": "synthetic eyes open and closed", "BIDSVersion": "1.9.0", "DatasetType": "raw"},
    )
    _write_json(
        root / "participants.json",
        {"age": {"Units": "year"}, "sex": {"Levels": {"F": "female", "M": "male"}}},
    )
    return CorpusTruth(root, tuple(recordings), tuple(lost))


def write_folder_corpus(
    root: Path,
    *,
    num_subjects: int = 4,
    duration_s: float = 60.0,
    sampling_rate_hz: float = 256.0,
    seed: int = 0,
    channel_names: Sequence[str] = TEN_TWENTY_19,
    line_hz: float = 50.0,
    layout: Literal["subfolders", "flat"] = "subfolders",
    broken: bool = False,
) -> CorpusTruth:
    """Write a plain folder of EDF files without sidecars.

    `layout` "subfolders" gives subject01/eyesopen.edf; "flat" gives subject01_eyesopen.edf and a
    labels.csv with the columns file, subject, task, age, sex. The rest is as in
    `write_bids_corpus`.
    """
    plan = _Plan(duration_s, sampling_rate_hz, tuple(channel_names), line_hz)
    subjects = _subjects(num_subjects + broken, seed, prefix="subject")
    between = "/" if layout == "subfolders" else "_"
    recordings = [
        _write_recording(root / f"{subject.name}{between}{task}.edf", subject, task, plan)
        for subject in subjects[:num_subjects]
        for task in TASKS
    ]
    lost = [
        _write_broken(root / f"{subject.name}{between}{TASKS[0]}.edf", subject, plan)
        for subject in subjects[num_subjects:]
    ]
    if layout == "flat":
        ages = {subject.name: (str(subject.age), subject.sex) for subject in subjects}
        named = [(one.path.name, one.subject, one.task) for one in recordings]
        named += [(path.name, path.name.split("_")[0], TASKS[0]) for path in lost]
        rows = [(*row, *ages[row[1]]) for row in named]
        header = ("file", "subject", "task", "age", "sex")
        _write_table(root / "labels.csv", header, rows, separator=",")
    return CorpusTruth(root, tuple(recordings), tuple(lost))


def _subjects(count: int, seed: int, prefix: str = "") -> list[_Subject]:
    subjects = []
    for number in range(1, count + 1):
        rng = np.random.default_rng((seed, number))
        subjects.append(
            _Subject(
                name=f"{prefix}{number:02d}",
                age=int(rng.integers(18, 71)),
                sex="F" if rng.uniform() < 0.5 else "M",
                alpha_hz=float(rng.uniform(9.0, 11.0)),
                gain=float(rng.uniform(0.7, 1.4)),
                seed=int(rng.integers(2**31)),
            )
        )
    return subjects


def _bids_path(root: Path, subject: _Subject, task: str) -> Path:
    stem = f"sub-{subject.name}"
    return root / stem / "eeg" / f"{stem}_task-{task}_eeg.edf"


def _write_recording(path: Path, subject: _Subject, task: str, plan: _Plan) -> RecordingTruth:
    signal = subject.gain * generate_eeg(
        ten_twenty_positions(plan.channel_names),
        duration_s=plan.duration_s,
        sampling_rate_hz=plan.sampling_rate_hz,
        seed=subject.seed + TASKS.index(task),
        eyes_closed=task == "eyesclosed",
        alpha_hz=subject.alpha_hz,
        line_hz=plan.line_hz,
    )
    write_edf(path, signal, labels=plan.channel_names, sampling_rate_hz=plan.sampling_rate_hz)
    return RecordingTruth(
        path=path,
        subject=subject.name,
        task=task,
        age=subject.age,
        sex=subject.sex,
        sampling_rate_hz=plan.sampling_rate_hz,
        num_samples=signal.shape[1],
        channel_names=plan.channel_names,
        events=_events(task, plan.duration_s),
    )


def _write_broken(path: Path, subject: _Subject, plan: _Plan) -> Path:
    _write_recording(path, subject, TASKS[0], plan)
    header_share = 256 * (len(plan.channel_names) + 1) / path.stat().st_size
    truncate(path, keep_share=0.5 * header_share)
    return path


def _events(task: str, duration_s: float) -> tuple[EventTruth, ...]:
    onsets = np.arange(0.0, duration_s, _EVENT_S)
    return tuple(
        EventTruth(float(onset), float(min(_EVENT_S, duration_s - onset)), _EVENT_LABELS[task])
        for onset in onsets
    )


def _write_sidecars(recording: RecordingTruth, plan: _Plan) -> None:
    stem = str(recording.path).removesuffix("_eeg.edf")
    rate = f"{plan.sampling_rate_hz:g}"
    _write_json(
        Path(f"{stem}_eeg.json"),
        {
            "TaskName": recording.task,
            "SamplingFrequency": plan.sampling_rate_hz,
            "PowerLineFrequency": plan.line_hz,
            "EEGReference": "n/a",
            "SoftwareFilters": "n/a",
            "RecordingType": "continuous",
            "RecordingDuration": plan.duration_s,
            "EEGChannelCount": len(plan.channel_names),
        },
    )
    channels = [(name, "EEG", "uV", rate, "good") for name in plan.channel_names]
    names = ("name", "type", "units", "sampling_frequency", "status")
    _write_table(Path(f"{stem}_channels.tsv"), names, channels, separator="\t")
    events = [(f"{one.onset_s:g}", f"{one.duration_s:g}", one.label) for one in recording.events]
    columns = ("onset", "duration", "trial_type")
    _write_table(Path(f"{stem}_events.tsv"), columns, events, separator="\t")


def _write_table(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], *, separator: str
) -> None:
    lines = [separator.join(row) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
