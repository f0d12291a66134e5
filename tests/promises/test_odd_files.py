"""R10: a bad file never ends the corpus. Each odd input has its verdict, written down here.

converted: the whole recording is there, by the rule that its note names.
partly: some of it is there, and what is not is said.
quarantined: none of it is there, and the reason is said.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.cli.main import main
from physioscale.contract import open_shard_set
from physioscale.testing import (
    Annotation,
    overwrite,
    patch_header,
    truncate,
    write_bids_corpus,
    write_edf,
)
from physioscale.testing.edf_bytes import header_bytes

Shard = Callable[..., int]
Figure = Callable[[str, object], None]
Make = Callable[[Path], object]

NAMES = ("Fp1", "Cz", "O2")
RATE_HZ = 64
SECONDS = 6
NEIGHBOURS = ("aa_first", "mm_middle", "zz_last")
OPTIONS = ("--set", "subject_ids=public", "--split", "val=0,test=0")


@dataclass(frozen=True)
class _Odd:
    """An odd input and its verdict."""

    name: str
    make: Make
    verdict: str
    says: str
    """Part of the note, or of the row, or of the quarantine's message."""
    suffix: str = "edf"


def _noise(*, channels: int = 3, seconds: float = SECONDS, rate_hz: float = RATE_HZ) -> Any:
    return np.random.default_rng(10).normal(0, 20, (channels, round(seconds * rate_hz)))


def _write(path: Path, values: NDArray[np.float64] | None = None, **options: Any) -> None:
    facts: dict[str, Any] = {"labels": NAMES, "sampling_rate_hz": RATE_HZ}
    write_edf(path, _noise() if values is None else values, **(facts | options))


def _sound(**options: Any) -> Make:
    return lambda path: _write(path, **options)


def _bytes(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def _patched(field: str, text: str, *channels: int, **options: Any) -> Make:
    def make(path: Path) -> None:
        _write(path, **options)
        for channel in channels or (None,):
            patch_header(path, field, text=text, channel=channel)

    return make


def _then(change: Callable[[Path], object], **options: Any) -> Make:
    def make(path: Path) -> None:
        _write(path, **options)
        change(path)

    return make


def _one_flat(path: Path) -> None:
    values = _noise()
    values[1] = 0.0
    _write(path, values)


def _bad_annotation(path: Path) -> None:
    _write(path, kind="edf+c", annotations=[Annotation(2.0, "T1")])
    overwrite(path, b"#2", offset=path.read_bytes().rindex(b"+2\x14T1"))


def _mixed_rates(path: Path) -> None:
    values = [_noise(channels=1, rate_hz=rate)[0] for rate in (64, 64, 32)]
    _write(path, values, sampling_rate_hz=[64, 64, 32])  # type: ignore[arg-type]  # one per channel


def _inverted(path: Path) -> None:
    _write(path, physical_range=(-300.0, 300.0))
    for field, text in (("physical_min", "300"), ("physical_max", "-300")):
        patch_header(path, field, text=text, channel=0)


def _annotations_only(path: Path) -> None:
    fields = {"version": "0", "header_bytes": "512", "reserved": "EDF+C", "num_records": "1"}
    signal = {"label": "EDF Annotations", "physical_min": "-1", "physical_max": "1"}
    digital = {"digital_min": "-32768", "digital_max": "32767", "samples_per_record": "32"}
    header = header_bytes(
        {**fields, "record_duration": "0", "num_signals": "1"}, [{**signal, **digital}]
    )
    path.write_bytes(header + b"+0\x14\x14\x00+1\x14T1\x14\x00".ljust(64, b"\x00"))


_BROKEN_ONSETS = [0.0, 1.0, 1.5, 2.5, 3.5, 4.5]
_GAP_ONSETS = [0.0, 1.0, 2.0, 60.0, 61.0, 62.0]

FOLDER_CASES = [
    _Odd("empty", _bytes(b""), "quarantined", "the file is empty"),
    _Odd(
        "png", _bytes(b"\x89PNG\r\n\x1a\n" + bytes(999)), "quarantined", "so it is not EDF or BDF"
    ),
    _Odd(
        "annex", _bytes(b"/annex/objects/MD5E-s1--0.edf\n"), "quarantined", "a pointer to the rec"
    ),
    _Odd("lfs", _bytes(b"version https://git-lfs.github.com/x"), "quarantined", "a pointer to the"),
    _Odd(
        "cut_in_header", _then(lambda p: truncate(p, keep_share=0.2)), "quarantined", "its header"
    ),
    _Odd("truncated", _then(lambda p: truncate(p, keep_share=0.7)), "quarantined", "truncated: "),
    _Odd("more_declared", _patched("num_records", "9"), "quarantined", "truncated: 6 whole data"),
    _Odd("fewer_declared", _patched("num_records", "4"), "partly", "trailing_bytes: "),
    _Odd("count_unknown", _patched("num_records", "-1"), "converted", "record_count_unknown: "),
    _Odd("no_records", _patched("num_records", "0"), "quarantined", "0 data records"),
    _Odd(
        "count_no_number", _patched("num_records", "many"), "quarantined", "number of data records"
    ),
    _Odd("header_size", _patched("header_bytes", "512"), "quarantined", "claims 512 bytes"),
    _Odd("no_duration", _patched("record_duration", "0"), "quarantined", "data records of 0 s"),
    _Odd("huge_duration", _patched("record_duration", "1e999999"), "quarantined", "1e999999"),
    _Odd("wrong_kind", _patched("reserved", "BDF+C"), "quarantined", "EDF version bytes, but"),
    _Odd("d_without_times", _patched("reserved", "EDF+D"), "quarantined", "no annotation signal"),
    _Odd("gaps", _sound(kind="edf+d", record_onsets_s=_GAP_ONSETS), "converted", '"num_runs": 2'),
    _Odd(
        "overlap",
        _sound(kind="edf+d", record_onsets_s=_BROKEN_ONSETS),
        "quarantined",
        "data record 2 begins at 1.5 s",
    ),
    _Odd(
        "hidden_gap",
        _sound(kind="edf+c", record_onsets_s=_GAP_ONSETS),
        "converted",
        "undeclared_gaps: 1 gaps",
    ),
    _Odd("bad_annotation", _bad_annotation, "converted", "damaged_annotations: 1 annotation"),
    _Odd("annotations_only", _annotations_only, "quarantined", "annotations only, no signal"),
    _Odd("mixed_rates", _mixed_rates, "partly", "32 Hz; the others have 64 Hz"),
    _Odd("all_flat", _sound(values=np.zeros((3, 384))), "quarantined", "all 3 channels are flat"),
    _Odd("one_flat", _one_flat, "converted", '"flat", "values": [0.0, 1.0, 0.0]'),
    _Odd("unit_unknown", _sound(units="furlong"), "quarantined", "'furlong' is not known to be V"),
    _Odd("one_unit", _sound(units=["uV", "uV", "%"]), "partly", "unit '%' is not known to be V"),
    _Odd("millivolts", _sound(units="mV"), "converted", '"num_segments": 1'),
    _Odd("latin_unit", _sound(units="\u00b5V"), "converted", "not_ascii: 3 header texts"),
    _Odd("comma", _patched("physical_max", "99,5", 0), "converted", "decimal_comma: 1 header"),
    _Odd("same_limits", _patched("digital_max", "-32768", 1), "partly", "unusable_channels: 1"),
    _Odd("nan_limit", _patched("physical_min", "nan", 2), "partly", "unusable_channels: 1"),
    _Odd(
        "no_limits", _patched("digital_max", "-40000", 0, 1, 2), "quarantined", "none of 3 channels"
    ),
    _Odd(
        "negative", _patched("samples_per_record", "-64", 1), "quarantined", "-64 samples per rec"
    ),
    _Odd("inverted", _inverted, "converted", '"num_segments": 1'),
    _Odd("twice", _sound(labels=["Cz", "Cz", "O2"]), "partly", "duplicate_labels: 1 labels"),
    _Odd("no_eeg", _sound(labels=["ECG", "EMG chin", "EOG left"]), "quarantined", "is not wanted"),
    _Odd("unknown_labels", _sound(labels=["?", "#", "%"]), "quarantined", "type unknown"),
    _Odd(
        "too_short",
        _sound(values=_noise()[:, :32], record_duration_s=0.5),
        "quarantined",
        "0.500 s",
    ),
    _Odd(
        "status",
        _sound(kind="bdf", labels=["Fp1", "Cz", "Status"], units=["uV", "uV", "Boolean"]),
        "partly",
        "Status",
        suffix="bdf",
    ),
    _Odd(
        "bdf_cut",
        _then(lambda p: truncate(p, keep_share=0.5), kind="bdf"),
        "quarantined",
        "truncated",
        suffix="bdf",
    ),
    _Odd("other_format", _bytes(b"Brain Vision"), "quarantined", "BrainVision is not read", "vhdr"),
    _Odd(
        "leaves_folder",
        lambda path: path.symlink_to("/etc/hostname"),
        "quarantined",
        "a link that leaves the corpus folder",
    ),
    _Odd(
        "dangling",
        lambda path: path.symlink_to("absent.edf"),
        "quarantined",
        "a link to content that is not here",
    ),
]


@pytest.mark.promise(
    "R10",
    asked=">= 30 odd inputs, each with a written verdict; neighbours intact; status by share",
    full=30,
    small=30,
)
def test_odd_files_of_a_folder(
    tmp_path: Path, shard: Shard, capsys: pytest.CaptureFixture[str], count: int, figure: Figure
) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in NEIGHBOURS:
        _write(root / name / "a.edf", _noise(seconds=SECONDS + len(name)))
    assert shard(root, tmp_path / "clean", *OPTIONS) == 0
    for case in FOLDER_CASES:
        (root / case.name).mkdir()
        case.make(root / case.name / f"a.{case.suffix}")
    lost = [case for case in FOLDER_CASES if case.verdict == "quarantined"]
    share = len(lost) / (len(FOLDER_CASES) + len(NEIGHBOURS))
    below, above = f"{share - 0.01:.3f}", f"{share + 0.01:.3f}"
    assert shard(root, out, *OPTIONS, "--max-quarantined", below) == 1
    assert shard(root, out, *OPTIONS, "--max-quarantined", above) == 0
    wrong = _differing(out, {f"{case.name}/": case for case in FOLDER_CASES})
    assert not wrong, "\n".join(wrong)
    assert _neighbours(out) == _neighbours(tmp_path / "clean")
    assert main(["verify", str(out)]) == 0
    assert len(FOLDER_CASES) >= count
    figure("inputs", len(FOLDER_CASES))
    for verdict in ("converted", "partly", "quarantined"):
        figure(verdict, sum(case.verdict == verdict for case in FOLDER_CASES))


@pytest.mark.promise(
    "R10",
    asked="a truncated file gives its whole records where the profile says so",
    full=1,
    small=1,
)
def test_truncated_files_where_the_profile_accepts_them(tmp_path: Path, shard: Shard) -> None:
    path = tmp_path / "in/s1/a.edf"
    _then(lambda p: truncate(p, keep_share=0.7))(path)
    assert shard(tmp_path / "in", tmp_path / "out", *OPTIONS, "--set", "accept_truncated=true") == 0
    (row,) = open_shard_set(tmp_path / "out").recordings.to_pylist()
    assert 0 < row["duration_s"] < SECONDS
    assert any("truncated" in note for note in row["notes"]), row["notes"]


def _bids(change: Callable[[Path, str], object]) -> Make:
    """Return a change of the recording's folder, given the start of its files' names."""
    return lambda folder: change(folder, f"{folder.parent.name}_task-eyesopen_")


def _table(kind: str, text: str) -> Make:
    return _bids(lambda folder, stem: (folder / f"{stem}{kind}").write_text(text))


def _renamed(old: str, new: str) -> Make:
    def change(folder: Path, stem: str) -> None:
        (folder / f"{stem}{old}").rename(folder / new.format(stem=stem))

    return _bids(change)


def _without_side_files(folder: Path, stem: str) -> None:
    for path in folder.glob(f"{stem}*"):
        if path.suffix != ".edf":
            path.unlink()


_CHANNELS = "name\ttype\tunits\nFp1\tEEG\tuV\nCz\tEEG\tuV\n"
BIDS_CASES = [
    _Odd("no side files", _bids(_without_side_files), "converted", '"events": []'),
    _Odd(
        "short row",
        _table("channels.tsv", _CHANNELS + "O2\tEEG\n"),
        "converted",
        "side_file_unused",
    ),
    _Odd("no header", _table("channels.tsv", ""), "converted", "side_file_unused: "),
    _Odd(
        "not UTF-8",
        _bids(lambda f, s: (f / f"{s}events.tsv").write_bytes(b"onset\t\xff\n")),
        "converted",
        "is not UTF-8",
    ),
    _Odd(
        "bad onset",
        _table("events.tsv", "onset\tduration\ttrial_type\nsoon\t1\tx\n"),
        "converted",
        "onset 'soon'",
    ),
    _Odd(
        "minus",
        _table("events.tsv", "onset\tduration\ttrial_type\n1\t-2\tx\n"),
        "converted",
        "duration '-2'",
    ),
    _Odd("not JSON", _table("eeg.json", "{TaskName"), "converted", "not JSON"),
    _Odd("JSON list", _table("eeg.json", "[]"), "converted", "a JSON list"),
    _Odd(
        "other unit",
        _table("channels.tsv", _CHANNELS.replace("uV", "mV")),
        "converted",
        "unit_differs: ",
    ),
    _Odd(
        "not eeg",
        _table("channels.tsv", _CHANNELS.replace("Cz\tEEG", "Cz\tMISC")),
        "partly",
        "type misc is not wanted",
    ),
    _Odd("one missing", _table("channels.tsv", _CHANNELS), "converted", "not_in_channels_table: "),
    _Odd(
        "other subject",
        _renamed("eeg.edf", "sub-77_task-eyesopen_eeg.edf"),
        "quarantined",
        "its name and folder disagree",
    ),
    _Odd(
        "no name",
        _renamed("eeg.edf", "recording.edf"),
        "quarantined",
        "not that of a BIDS recording",
    ),
    _Odd("other suffix", _renamed("eeg.edf", "{stem}meg.edf"), "quarantined", "or not *_eeg"),
    _Odd("unread", _renamed("eeg.edf", "{stem}eeg.set"), "quarantined", "EEGLAB is not read"),
    _Odd(
        "traversal",
        _bids(lambda f, s: _link(f / f"{s}eeg.edf")),
        "quarantined",
        "a link that leaves the corpus folder",
    ),
]


def _link(path: Path) -> None:
    outside = path.parents[3] / "outside.edf"
    path.rename(outside)
    path.symlink_to(Path("../../..") / outside.name)


@pytest.mark.promise(
    "R10", asked="odd side files and names in a BIDS tree, each with a verdict", full=16, small=16
)
def test_odd_side_files_of_a_bids_tree(
    tmp_path: Path, shard: Shard, count: int, figure: Figure
) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    size: dict[str, Any] = {"num_subjects": len(BIDS_CASES), "channel_names": NAMES}
    write_bids_corpus(root, duration_s=SECONDS, sampling_rate_hz=RATE_HZ, **size)
    assert shard(root, tmp_path / "clean", *OPTIONS) == 0
    for number, case in enumerate(BIDS_CASES, start=1):
        case.make(root / f"sub-{number:02d}" / "eeg")
    assert shard(root, out, *OPTIONS) == 0
    wrong = _differing(out, {f"sub-{n:02d}/": case for n, case in enumerate(BIDS_CASES, start=1)})
    assert not wrong, "\n".join(wrong)
    # The other recording of each subject is the neighbour.
    assert _neighbours(out) == _neighbours(tmp_path / "clean")
    assert main(["verify", str(out)]) == 0
    assert len(BIDS_CASES) >= count
    figure("inputs", len(BIDS_CASES))


def _differing(out: Path, cases: dict[str, _Odd]) -> list[str]:
    """Return a line for each case, by the start of its path, whose verdict is another."""
    rows = {row["source"]: row for row in open_shard_set(out).recordings.to_pylist()}
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    lost = {row["path"]: row["error"] for row in map(json.loads, lines)}
    wrong = []
    for start, case in cases.items():
        kept = [
            json.dumps(row)
            for path, row in rows.items()
            if path.startswith(start) and not _is_neighbour(path)
        ]
        left_out = [error for path, error in lost.items() if path.startswith(start)]
        found, missing = (left_out, kept) if case.verdict == "quarantined" else (kept, left_out)
        if len(found) != 1 or missing or case.says not in found[0]:
            wrong.append(f"{case.name}: expected {case.verdict}, {case.says!r}: {found + missing}")
        if case.verdict == "partly" and not _says_what_is_lost(rows, start):
            wrong.append(f"{case.name}: partly kept, and nothing is said of the rest")
    return wrong


def _says_what_is_lost(rows: dict[str, Any], start: str) -> bool:
    row = next(row for path, row in rows.items() if path.startswith(start))
    return bool(row["dropped_channels"] or row["notes"])


def _is_neighbour(path: str) -> bool:
    return path.startswith(NEIGHBOURS) or "_task-eyesclosed_" in path


def _neighbours(out: Path) -> dict[str, tuple[Any, bytes]]:
    """Return row and stored samples of each sound recording; nothing of where it is stored."""
    shard_set = open_shard_set(out)
    rows = {row["recording"]: row for row in shard_set.recordings.to_pylist()}
    samples = dict.fromkeys(rows, b"")
    for segment in shard_set.index.to_pylist():
        with (out / segment["shard"]).open("rb") as file:
            file.seek(segment["signal_offset"])
            samples[segment["recording"]] += file.read(segment["signal_bytes"])
    return {
        row["source"]: (row, samples[name])
        for name, row in rows.items()
        if _is_neighbour(row["source"])
    }
