"""`physioscale shard`: what it prints and returns, reruns, refusals, a full disk."""

import errno
import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from physioscale.cli.main import main
from physioscale.contract import ShardWriter
from physioscale.contract import publish as publish_module
from physioscale.contract.verify import verify_shard_sets
from physioscale.errors import InputError
from physioscale.testing import write_bids_corpus, write_folder_corpus
from physioscale_sharding.claims import claimed
from physioscale_sharding.convert import Task

Convert = Callable[..., Any]

# Shards of 20 kB: each recording of `corpus` (8 s, 4 channels) is an item of its own.
SMALL = ["shard_mb=0.02", "split.val=0.25", "split.test=0.25"]
SMALL_OPTIONS = [word for value in SMALL for word in ("--set", value)]
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 4 subjects with two recordings each, and a broken file of a fifth."""
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    names = ("Fp1", "Cz", "O1", "O2")
    write_folder_corpus(
        root, num_subjects=4, duration_s=8, sampling_rate_hz=128, channel_names=names, broken=True
    )
    return root


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the shard set that one process made in one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(["shard", str(corpus), "--out", str(out), "--workers", "1", *SMALL_OPTIONS]) == 0
    return out


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_prints_what_came_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--split", "val=0.25,test=0.25", "--show-names"]
    status = main(["shard", str(corpus), "--out", str(out), *words])
    assert status == 0
    printed = capsys.readouterr().out
    assert "synthetic: 8 recordings converted, 0.02 h, profile eeg-wide" in printed
    assert re.search(r"train +2 +4 +4 +0\.01\n +val +1 +2 +2 +0\.00\n +test +1 +2 +2 ", printed)
    assert re.search(
        r"8 segments in 3 shards, \d+(\.\d+)? kB; 0 segments stored as float32", printed
    )
    assert "1 of 9 files in quarantine" in printed
    assert "subject05/eyesopen.edf: ends inside its header" in printed
    assert printed.endswith(f"next: physioscale verify {out}\n")
    assert not verify_shard_sets([out]).faults


def test_dry_run_prints_the_plan_and_writes_nothing(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["shard", str(corpus), "--out", str(out), "--dry-run", *SMALL_OPTIONS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "item",
        "split",
        "recordings",
        "subjects",
        "hours",
        "shards",
        "size",
    ]
    assert [line.split()[0] for line in lines[1:9]] == [str(number) for number in range(8)]
    assert "8 recordings of 4 subjects, 0.02 h, 8 shards, about" in lines[9]
    assert lines[-1] == "nothing was written (--dry-run)"
    assert not out.exists()


def test_estimates_are_near_what_is_written(
    corpus: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["shard", str(corpus), "--out", str(undisturbed), "--dry-run", *SMALL_OPTIONS])
    (estimate,) = re.findall(r"8 shards, about ([\d.]+) kB", capsys.readouterr().out)
    written = sum(path.stat().st_size for path in undisturbed.glob("*.tar"))
    # tar fills each of the 8 files up to a multiple of 10240 bytes.
    assert 0 < written - float(estimate) * 1000 < 8 * 10240


def test_finished_set_is_left_alone(
    corpus: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    assert main(["shard", str(corpus), "--out", str(undisturbed), *SMALL_OPTIONS]) == 0
    assert "holds this shard set already; nothing was done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "eeg-native"], "a finished shard set with another profile ('eeg-wide')"),
        (["--name", "other"], "a finished shard set with another corpus ('synthetic')"),
        (["--subject-key", "KEY"], "a finished shard set with another content of the corpus"),
    ],
)
def test_another_conversion_into_a_finished_set_is_refused(
    corpus: Path,
    undisturbed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    (tmp_path / "key").write_text("0123456789abcdef")
    words = [str(tmp_path / "key") if word == "KEY" else word for word in options]
    before = hashes(undisturbed)
    assert main(["shard", str(corpus), "--out", str(undisturbed), *SMALL_OPTIONS, *words]) == 2
    assert message in capsys.readouterr().err
    assert hashes(undisturbed) == before


def test_another_conversion_into_an_unfinished_set_is_refused(
    corpus: Path, tmp_path: Path, convert: Convert
) -> None:
    convert(corpus, tmp_path / "out", overrides=SMALL, task=Task(0, 2))
    with pytest.raises(InputError, match="an unfinished conversion with another the profile"):
        convert(corpus, tmp_path / "out", profile="eeg-native")


def test_folder_with_other_files_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    assert main(["shard", str(corpus), "--out", str(tmp_path)]) == 2
    assert "1 files of something else (thesis.docx); expected an empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]
    assert main(["shard", str(corpus), "--out", str(tmp_path / "thesis.docx")]) == 2
    assert "a file; expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "eeg-wid"], "did you mean 'eeg-wide'"),
        (["--corpus", "eegmatt"], "did you mean 'eegmat'"),
        (["--set", "shard_md=3"], "Did you mean 'shard_mb'"),
        (["--split", "vall=0.2"], "split.vall"),
        (["--subject-pattern", "(S"], "a regular expression"),
        (["--subject-pattern", "S(?P<number>1)"], r"\(\?P<subject>"),
        (["--subject-key", "/no/such/key"], "no such file"),
    ],
)
def test_mistakes_are_named(
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert main(["shard", str(corpus), "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (("none", "no such folder"), ("empty", "no EDF or BDF file among its 0")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(["shard", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--workers", "0"], ["--task", "2/2"], ["--max-quarantined", "2"]]
)
def test_impossible_options(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["shard", str(corpus), "--out", str(tmp_path / "out"), *words])
    assert f"'{words[1]}'; expected" in capsys.readouterr().err


def test_status_says_when_too_much_was_lost(corpus: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    # One of nine files is broken.
    assert main(["shard", str(corpus), "--out", out, "--max-quarantined", "0.1"]) == 1
    assert main(["shard", str(corpus), "--out", out, "--max-quarantined", "0.12"]) == 0


def test_nothing_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in/s1").mkdir(parents=True)
    (tmp_path / "in/s1/a.edf").write_bytes(b"")
    words = ["shard", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main([*words, "--max-quarantined", "1"]) == 1
    assert "no recording was converted; no shard set was written" in capsys.readouterr().out
    assert list(hashes(tmp_path / "out")) == ["quarantine.jsonl"]
    # A rerun is a new try, not a refusal.
    assert main([*words, "--max-quarantined", "1"]) == 1


def test_bids_tree_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bids_corpus(tmp_path / "My Data", num_subjects=3, duration_s=4, sampling_rate_hz=64)
    assert main(["shard", str(tmp_path / "My Data"), "--out", str(tmp_path / "out")]) == 0
    assert "my_data: 6 recordings converted" in capsys.readouterr().out


def test_conversion_at_work_in_the_folder_is_refused(
    corpus: Path, tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physioscale_sharding.convert._WAIT_FOR_DEAD_S", 0.0)
    (tmp_path / "out/.work").mkdir(parents=True)
    with (
        claimed(tmp_path / "out/.work/run.lock"),
        pytest.raises(InputError, match="a conversion that is still running in it"),
    ):
        convert(corpus, tmp_path / "out")
    assert convert(corpus, tmp_path / "out").info is not None


def test_full_disk_stops_with_a_message_and_a_rerun_goes_on(
    corpus: Path,
    undisturbed: Path,
    tmp_path: Path,
    convert: Convert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = ShardWriter.write
    left = [3]

    def failing(self: ShardWriter, *arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(ShardWriter, "write", failing)
    with pytest.raises(InputError, match="no space left on its disk"):
        convert(corpus, tmp_path / "out", overrides=SMALL)
    monkeypatch.undo()
    done = sorted((tmp_path / "out/.work/items").glob("*.json"))
    assert len(done) == 3
    convert(corpus, tmp_path / "out", overrides=SMALL)
    assert hashes(tmp_path / "out") == hashes(undisturbed)


class _Killed(BaseException):
    """Stands for the end of the process: nothing that is there to catch errors catches it."""


def test_death_at_any_publication_leaves_a_folder_that_a_rerun_finishes(
    corpus: Path,
    undisturbed: Path,
    tmp_path: Path,
    convert: Convert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Attempt n over the same folder dies after its n-th publication: together they end the work.
    out = tmp_path / "out"
    sync = publish_module.sync_folder
    finished = False
    for attempt in range(1, 40):
        left = [attempt]

        def dying(path: Path, left: list[int] = left) -> None:
            sync(path)
            left[0] -= 1
            if left[0] == 0:
                raise _Killed

        monkeypatch.setattr(publish_module, "sync_folder", dying)
        monkeypatch.setattr("physioscale_sharding.merge.sync_folder", dying)
        try:
            convert(corpus, out, overrides=SMALL)
        except _Killed:
            continue
        finished = True
        break
    monkeypatch.undo()
    # Plan, 8 items of 4 files each, 7 publications of the merge: no single attempt did them all.
    assert finished
    assert 5 < attempt < 20
    assert hashes(out) == hashes(undisturbed)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_the_process_that_started_them(corpus: Path, tmp_path: Path) -> None:
    # A worker that outlives its parent would write into the folder of the rerun.
    program = (
        "import os, sys, time\n"
        "from physioscale_sharding.pool import run_jobs\n"
        "if __name__ == '__main__':\n"
        "    run = run_jobs(time.sleep, [0.0, 0.0, 600.0, 600.0], num_workers=2)\n"
        "    next(run), next(run)\n"
        "    print('asleep', flush=True)\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "program.py").write_text(program)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        before = _descendants(process.pid)
        process.send_signal(signal.SIGKILL)
    assert len(before) >= 3, "a fork server and two workers"
    until = time.monotonic() + TIMEOUT_S
    while alive := [pid for pid in before if _is_alive(pid)]:
        assert time.monotonic() < until, f"processes {alive} outlived their parent"
        time.sleep(0.02)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    found = parents.get(pid, [])
    return found + [below for child in found for below in _descendants(child)]


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
