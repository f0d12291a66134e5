"""`verify` finds every damaged byte, every contradiction and every planted leak, and names it."""

import dataclasses
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from physioscale.cli.main import main
from physioscale.contract import (
    BLOCK_BYTES,
    DATASET_FILE,
    INDEX_FILE,
    INDEX_SCHEMA,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    RECORDINGS_SCHEMA,
    REPORT_FILE,
    DatasetInfo,
    file_sha256,
    open_shard_set,
    to_table,
    write_dataset,
    write_table,
)
from physioscale.contract.verify import Fault, num_bytes, verify_shard_sets
from physioscale.errors import InputError, MissingInputError
from physioscale.testing import truncate
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

RECORDINGS = [
    SyntheticRecording("a", run_s=(7.5, 3.0), gap_s=2.0, num_channels=8, burst_at_s=1.0),
    SyntheticRecording("b", run_s=(6.0,), num_channels=3),
    SyntheticRecording("c", split="val", num_channels=2, run_s=(4.0,), unplaced=1),
    SyntheticRecording("d", split="test", task="eyesclosed", run_s=(4.0,)),
]
SHARD = "train-000000.tar"
SHARDS = ("test-000000.tar", SHARD, "train-000001.tar", "train-000002.tar", "val-000000.tar")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "set"
    write_shard_set(folder, recordings=RECORDINGS, segment_s=5.0, segments_per_shard=2)
    _rewrite(folder, quarantine=b'{"path":"x.edf","reason":"truncated"}\n')
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "set"))


def _rewrite(
    folder: Path,
    *,
    index: Callable[[Rows], object] | None = None,
    recordings: Callable[[Rows], object] | None = None,
    quarantine: bytes | None = None,
    **info: Any,
) -> None:
    """Change a set as a faulty converter would have written it: all hashes are right."""
    shard_set = open_shard_set(folder)
    for name, schema, change in (
        (INDEX_FILE, INDEX_SCHEMA, index),
        (RECORDINGS_FILE, RECORDINGS_SCHEMA, recordings),
    ):
        if change is not None:
            rows = (shard_set.index if name == INDEX_FILE else shard_set.recordings).to_pylist()
            change(rows)
            write_table(folder / name, to_table(rows, schema=schema))
    if quarantine is not None:
        (folder / QUARANTINE_FILE).write_bytes(quarantine)
        info.setdefault("quarantined", len(quarantine.splitlines()))
    files = {name: file_sha256(folder / name) for name in shard_set.info.files}
    changed: DatasetInfo = dataclasses.replace(shard_set.info, **{"files": files, **info})
    write_dataset(folder, changed)


def _faults(*folders: Path) -> tuple[Fault, ...]:
    return verify_shard_sets(folders).faults


def _only(*folders: Path) -> Fault:
    faults = _faults(*folders)
    assert len(faults) == 1, [str(fault) for fault in faults]
    return faults[0]


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << (at % 8)
    path.write_bytes(data)


def test_a_sound_set_has_no_fault_and_is_counted(folder: Path) -> None:
    read: list[int] = []
    report = verify_shard_sets([folder], on_bytes=read.append)
    assert report.faults == ()
    (counts,) = report.counts
    assert (counts.shards, counts.segments, counts.recordings, counts.subjects) == (5, 7, 4, 4)
    assert counts.hours == pytest.approx((10.5 + 6 + 4 + 4) / 3600)
    # dataset.json was read before the count began.
    assert sum(read) == num_bytes([folder]) - (folder / DATASET_FILE).stat().st_size


def test_every_region_of_a_shard_is_covered(folder: Path) -> None:
    for at in range(0, (folder / SHARD).stat().st_size, 787):
        _flip(folder / SHARD, at)
        assert {fault.file for fault in _faults(folder)} == {SHARD}, at
        _flip(folder / SHARD, at)


def test_a_flipped_payload_byte_is_named_with_sample_and_block(folder: Path) -> None:
    for row in open_shard_set(folder).index.to_pylist():
        first, last = row["signal_offset"], row["signal_offset"] + row["signal_bytes"] - 1
        for at in {first, (first + last) // 2, last}:
            _flip(folder / row["shard"], at)
            fault = _only(folder)
            _flip(folder / row["shard"], at)
            assert (fault.shard_set, fault.file, fault.sample) == (
                str(folder),
                row["shard"],
                row["key"],
            )
            assert fault.offset == first + (at - first) // BLOCK_BYTES * BLOCK_BYTES
            assert "does not match its checksum" in fault.message


def test_two_damaged_blocks_of_one_signal_are_both_named(folder: Path) -> None:
    rows = open_shard_set(folder).index.to_pylist()
    row = next(row for row in rows if row["signal_bytes"] > BLOCK_BYTES)
    _flip(folder / row["shard"], row["signal_offset"])
    _flip(folder / row["shard"], row["signal_offset"] + BLOCK_BYTES)
    offsets = [fault.offset for fault in _faults(folder)]
    assert offsets == [row["signal_offset"], row["signal_offset"] + BLOCK_BYTES]


def test_a_flipped_byte_of_a_stored_checksum_is_named_to_the_byte(folder: Path) -> None:
    row = open_shard_set(folder).index.to_pylist()[0]
    member = next(member for member in row["members"] if member["name"] == "crc.npy")
    at = member["offset"] + member["size"] - 2
    _flip(folder / row["shard"], at)
    fault = _only(folder)
    assert (fault.sample, fault.offset) == (row["key"], at)
    assert "crc.npy holds other checksums than index.parquet" in fault.message


@pytest.mark.parametrize("keep_share", [0.0, 0.3, 0.6])
def test_a_truncated_shard_is_named_with_the_first_lost_sample(
    folder: Path, keep_share: float
) -> None:
    left = truncate(folder / SHARD, keep_share=keep_share)
    fault = _only(folder)
    assert (fault.file, fault.offset) == (SHARD, left)
    assert fault.sample is not None
    assert f"the file ends at byte {left}" in fault.message


def test_a_shard_without_its_end_is_named(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data.rstrip(b"\0"))
    assert {fault.file for fault in _faults(folder)} == {SHARD}
    (folder / SHARD).write_bytes(data[:-512])
    fault = _only(folder)
    assert "its SHA-256 is not the one" in fault.message
    assert f"it has {len(data) - 512} bytes; dataset.json says {len(data)}" in fault.message


@pytest.mark.parametrize("name", [*SHARDS, INDEX_FILE, RECORDINGS_FILE, QUARANTINE_FILE])
def test_a_removed_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    fault = _only(folder)
    assert fault.file == name
    assert fault.message == "is missing; dataset.json lists it"


@pytest.mark.parametrize(
    "name", ["notes.txt", ".work/plan.json", "index.parquet.tmp", "train-000009.tar"]
)
def test_a_file_that_nobody_listed_is_named(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    fault = _only(folder)
    assert fault.file == name
    assert "is not listed in dataset.json" in fault.message


def test_the_report_for_people_may_lie_beside_the_shards(folder: Path) -> None:
    (folder / REPORT_FILE).write_text("<html></html>")
    assert _faults(folder) == ()


def test_swapped_shards_are_recognised_by_their_content(folder: Path) -> None:
    first, second = folder / "train-000000.tar", folder / "train-000001.tar"
    first.rename(folder / "other")
    second.rename(first)
    (folder / "other").rename(second)
    faults = _faults(folder)
    assert [(fault.file, fault.message) for fault in faults] == [
        ("train-000000.tar", "holds the content of train-000001.tar"),
        ("train-000001.tar", "holds the content of train-000000.tar"),
    ]


def _append(shard: Path, name: str, data: bytes) -> None:
    with tarfile.open(shard, "a") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def test_a_member_that_was_added_to_a_shard_is_named(folder: Path) -> None:
    _append(folder / SHARD, "evil.pickle", b"x" * 700)
    fault = _only(folder)
    assert fault.file == SHARD
    assert "member 'evil.pickle': bytes behind the last sample" in fault.message


@pytest.mark.parametrize("name", ["train-000000.tar", INDEX_FILE, RECORDINGS_FILE])
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_checked(
    folder: Path, name: str
) -> None:
    (folder / name).unlink()
    # A file that opens and gives an input/output error, as on a failing disk; root reads the rest.
    (folder / name).symlink_to("/proc/self/mem")
    (folder / QUARANTINE_FILE).unlink()
    found = {fault.file: fault.message for fault in _faults(folder)}
    assert found[name].startswith("cannot be read (Input/output error")
    assert found[QUARANTINE_FILE] == "is missing; dataset.json lists it"
    assert len(found) == 2


def test_a_damaged_index_leaves_the_shards_checked_by_their_hash(folder: Path) -> None:
    _flip(folder / INDEX_FILE, 100)
    _flip(folder / SHARD, 4000)
    assert [fault.file for fault in _faults(folder)] == [INDEX_FILE, SHARD]


def test_a_damaged_dataset_json_is_a_fault_and_not_an_exception(folder: Path) -> None:
    _flip(folder / DATASET_FILE, 300)
    fault = _only(folder)
    assert fault.file == DATASET_FILE


# What a faulty converter could write, with every hash right.


def _set(at: int, **values: Any) -> Callable[[Rows], object]:
    return lambda rows: rows[at].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.reverse(), "not sorted by shard and signal_offset"),
        (_set(2, key="synthetic_a_eyesopen_0000"), "2 rows have this key"),
        (_set(1, shard="train-000007.tar"), "which dataset.json does not list"),
        (_set(0, split="train"), "puts segments of split train into test-000000.tar"),
        (_set(1, segment=5), "not numbered 0, 1, 2"),
        (_set(1, num_times=1), r"meta.json has num_times \d+; index.parquet says 1"),
        (_set(1, start_sample=7), "meta.json has start_sample 0; index.parquet says 7"),
        (_set(1, start_s=7.0), "start_s is not start_sample / sampling_rate_hz"),
        (_set(1, scale=[2.0] * 8), "meta.json and index.parquet differ in scale"),
        (_set(1, dtype="int16"), "meta.json has dtype 'float32'; index.parquet says 'int16'"),
        (_set(1, num_channels=7), "meta.json has 8 channels; index.parquet says 7"),
        (_set(1, block_crc32=[]), "index.parquet has 0 block checksums"),
        (_set(1, signal_offset=0), "index.parquet puts .* bytes of data at byte 0"),
        (_set(1, recording="z"), "segments of recording 'z', which recordings.parquet does not"),
        (lambda rows: rows.pop(1), "dataset.json counts 2"),
        (lambda rows: rows.pop(1), "bytes that index.parquet does not know"),
        (lambda rows: rows[1]["members"].pop(), "has no member signal.npy"),
        (lambda rows: rows[1]["members"][0].update(name="x.json"), "has member x.json, which"),
        (lambda rows: rows[1]["members"][0].update(size=3), "index.parquet says .* of 3 bytes"),
        (lambda rows: rows[1]["members"][1].update(offset=600), "where another member lies"),
    ],
)
def test_an_index_that_contradicts_the_shards_is_named(
    folder: Path, change: Callable[[Rows], object], message: str
) -> None:
    _rewrite(folder, index=change)
    _expect(folder, message)


def _expect(folder: Path, message: str) -> None:
    found = [str(fault) for fault in _faults(folder)]
    assert any(re.search(message, text) for text in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.reverse(), "not sorted by recording"),
        (_set(0, subject="x"), "meta.json has subject 'a'; recordings.parquet says 'x'"),
        (_set(0, task=None), "meta.json has task 'eyesopen'; recordings.parquet says None"),
        (_set(0, reference="Cz"), "meta.json has reference 'synthetic'"),
        (_set(0, corpus="other"), "corpus 'other'; dataset.json says 'synthetic'"),
        (_set(0, split="dev"), "split 'dev'; expected train, val or test"),
        (_set(0, num_segments=2), "has 3 segments; recordings.parquet says 2"),
        (_set(0, num_runs=3), "has 2 runs; recordings.parquet says 3"),
        (_set(0, duration_s=10.0), "holds 10.5 s; recordings.parquet says 10 s"),
        (_set(0, sampling_rate_hz=125.0), "a segment has another sampling_rate_hz"),
        (_set(0, content_sha256="f00"), "content_sha256 'f00'; expected 64"),
        (_set(0, labels="[]"), "labels that are not a JSON object of scalars"),
        (_set(0, labels="{"), "labels that are not a JSON object of scalars"),
        (_set(0, labels='{"a": []}'), "labels that are not a JSON object of scalars"),
        (
            lambda rows: rows[0]["statistics"][0].update(mean=[float("nan")] * 8),
            "statistics of band 'wide' are not a finite mean",
        ),
        (lambda rows: rows[0]["statistics"][0]["std"].pop(), "for each of 8 channels"),
        (lambda rows: rows[0]["channels"][0].update(name="X"), "differ in channels"),
        (lambda rows: rows.pop(0), "recording 'a_eyesopen', which recordings.parquet does not"),
        (lambda rows: rows.pop(0), r"counts 2 recordings in split train; .* has 1"),
    ],
)
def test_recordings_that_contradict_the_index_are_named(
    folder: Path, change: Callable[[Rows], object], message: str
) -> None:
    _rewrite(folder, recordings=change)
    _expect(folder, message)


def test_a_recording_without_any_segment_is_named(folder: Path) -> None:
    row = open_shard_set(folder).recordings.to_pylist()[0]
    extra = {**row, "recording": "zz", "num_segments": 0, "content_sha256": "0" * 64}
    _rewrite(folder, recordings=lambda rows: rows.append(extra))
    _expect(folder, "recording 'zz': has no segment")


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ((0, 1000, 2375), "segment 1 begins before the one before it has ended"),
        ((0, 1251, 2376), "segment 1 begins behind a gap in its run"),
    ],
)
def test_segments_that_overlap_or_leave_a_gap_are_named(
    folder: Path, starts: Sequence[int], message: str
) -> None:
    def change(rows: Rows) -> None:
        mine = [row for row in rows if row["recording"] == "a_eyesopen"]
        for row, start in zip(mine, starts, strict=True):
            row.update(start_sample=start, start_s=start / 250.0)

    _rewrite(folder, index=change)
    _expect(folder, f"recording 'a_eyesopen': {message}")


def test_lines_of_the_quarantine_are_parsed_and_counted(folder: Path) -> None:
    _rewrite(folder, quarantine=b'{"path":"x.edf"}\nnot json\n[]\n', quarantined=2)
    messages = [fault.message for fault in _faults(folder)]
    assert messages == [
        "line 2 is not a JSON object",
        "line 3 is not a JSON object",
        "has 3 lines; dataset.json counts 2",
    ]


# Leaks.


def _write(folder: Path, recordings: Sequence[SyntheticRecording], **options: Any) -> Path:
    write_shard_set(folder, recordings=recordings, segment_s=5.0, **options)
    return folder


def _short(subject: str, split: str, task: str = "eyesopen") -> SyntheticRecording:
    return SyntheticRecording(subject, split=split, task=task, num_channels=2, run_s=(2.0,))


def test_a_subject_in_two_splits_of_a_set_is_named(tmp_path: Path) -> None:
    recordings = [_short("s1", "train"), _short("s1", "test", "eyesclosed"), _short("s2", "train")]
    fault = _only(_write(tmp_path / "a", recordings))
    assert "subject 's1' of corpus synthetic is in test" in fault.message
    assert "'s1_eyesclosed'" in fault.message
    assert "'s1_eyesopen'" in fault.message


def test_the_same_samples_in_two_splits_are_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", [_short("s1", "train"), _short("s2", "val")])
    _rewrite(
        folder, recordings=lambda rows: rows[1].update(content_sha256=rows[0]["content_sha256"])
    )
    fault = _only(folder)
    assert "the same samples are in train" in fault.message
    assert "'s2_eyesopen'" in fault.message


def test_the_same_samples_twice_in_one_split_are_no_leak(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", [_short("s1", "train"), _short("s2", "train")])
    _rewrite(
        folder, recordings=lambda rows: rows[1].update(content_sha256=rows[0]["content_sha256"])
    )
    assert _faults(folder) == ()


def test_a_subject_trained_on_here_and_tested_there_is_named(tmp_path: Path) -> None:
    first = _write(tmp_path / "wide", [_short("s1", "train")])
    second = _write(tmp_path / "reve", [_short("s1", "test", "eyesclosed")], seed=1)
    assert _faults(first) == _faults(second) == ()
    fault = _only(first, second)
    assert "subject 's1' of corpus synthetic is in test" in fault.message
    assert str(first) in fault.message
    assert str(second) in fault.message


def test_the_same_subject_in_the_same_split_of_two_sets_is_no_leak(tmp_path: Path) -> None:
    first = _write(tmp_path / "wide", [_short("s1", "train")])
    second = _write(tmp_path / "reve", [_short("s1", "train")])
    assert _faults(first, second) == ()


def test_subjects_of_corpora_are_compared_only_where_they_are_linked(tmp_path: Path) -> None:
    first = _write(tmp_path / "a", [_short("s1", "train")], corpus="tuab")
    second = _write(tmp_path / "b", [_short("s1", "test")], corpus="tuev", seed=1)
    assert _faults(first, second) == ()
    _rewrite(first, linked_corpora=("tuev",))
    for order in ((first, second), (second, first)):
        fault = _only(*order)
        assert "subject 's1' of linked corpora tuab and tuev is in test" in fault.message


def test_links_reach_over_a_third_corpus(tmp_path: Path) -> None:
    first = _write(tmp_path / "a", [_short("s1", "train")], corpus="tuab")
    second = _write(tmp_path / "b", [_short("s1", "val")], corpus="tuev", seed=1)
    _rewrite(first, linked_corpora=("tueg",))
    _rewrite(second, linked_corpora=("tueg",))
    assert "subject 's1' of linked corpora tuab and tuev" in _only(first, second).message


def test_the_same_samples_under_another_name_in_another_corpus_are_named(tmp_path: Path) -> None:
    first = _write(tmp_path / "a", [_short("s1", "train")], corpus="x")
    second = _write(tmp_path / "b", [_short("s1", "test")], corpus="y")
    assert "the same samples are in test" in _only(first, second).message


# Mistakes of the caller, and the command.


def test_a_folder_that_is_missing_unfinished_or_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(MissingInputError, match="absent: no such folder"):
        verify_shard_sets([folder / "absent"])
    with pytest.raises(InputError, match="a folder named twice"):
        verify_shard_sets([folder, folder.parent / "set"])
    (folder / DATASET_FILE).unlink()
    with pytest.raises(MissingInputError, match=r"no dataset\.json in it"):
        verify_shard_sets([folder])


def test_the_command_says_sound_and_returns_0(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "5 shards, 7 segments, 4 recordings, 4 subjects, 0.01 h" in out
    assert out.endswith("sound\n")


def test_the_command_prints_the_first_faults_and_the_count_of_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(23):
        (folder / f"extra-{number:02d}").write_bytes(b"x")
    assert main(["verify", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("fault: ")]) == 20
    assert "... and 3 more faults; --json prints all" in lines
    assert lines[-1] == "23 faults"


def test_the_command_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = open_shard_set(folder).index.to_pylist()[0]
    _flip(folder / row["shard"], row["signal_offset"])
    assert main(["verify", "--json", str(folder)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False
    assert report["sets"][0]["segments"] == 7
    (fault,) = report["faults"]
    assert (fault["file"], fault["sample"], fault["offset"]) == (
        row["shard"],
        row["key"],
        row["signal_offset"],
    )


def test_the_command_returns_2_for_a_folder_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path / "absent")]) == 2
    assert "absent: no such folder; expected a shard set" in capsys.readouterr().err
