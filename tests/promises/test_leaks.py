"""R12: no subject and no content in two splits, in a set, across sets and across linked corpora."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from physioscale.cli.main import main
from physioscale.contract import open_shard_set
from physioscale.testing import write_edf
from physioscale_sharding.corpus import list_definitions, load_definition

Shard = Callable[..., int]
Figure = Callable[[str, object], None]

NAMES = ("Fp1", "Cz", "O2")
RATE_HZ = 64
TRAIN, TEST = "val=0,test=0", "val=0,test=1"
LAYOUTS = {
    "tueg": "edf/000/{subject}/s001_2015/01_tcp_ar/{subject}_s001_t000.edf",
    "tuab": "edf/train/normal/01_tcp_ar/{subject}_s001_t000.edf",
    "tusz": "edf/dev/{subject}/s001_2002/02_tcp_le/{subject}_s001_t000.edf",
    "tuev": "edf/train/{subject}/{subject}_00000001.edf",
    "eegmmidb": "{subject}/{subject}R03.edf",
    "folder": "{subject}/a.edf",
}


@dataclass(frozen=True)
class _Leak:
    """Two corpora, and what of the second is also in the first."""

    first: str
    second: str
    what: str
    """subject, content or nothing."""


LEAKS = (
    _Leak("tueg", "tuab", "subject"),
    _Leak("folder", "eegmmidb", "content"),
    _Leak("tuab", "tueg", "nothing"),
    _Leak("eegmmidb", "eegmmidb", "subject"),
    _Leak("tuev", "tusz", "subject"),
    _Leak("folder", "folder", "subject"),
    _Leak("tusz", "tuab", "content"),
    _Leak("eegmmidb", "folder", "nothing"),
)


@pytest.mark.promise(
    "R12",
    asked="planted leaks (same subject id, same samples under another name, linked corpora by "
    "registry) found 100 %, else overlap 0",
    full=200,
    small=8,
)
def test_planted_leaks_are_found(
    tmp_path: Path, shard: Shard, capsys: pytest.CaptureFixture[str], count: int, figure: Figure
) -> None:
    found = dict.fromkeys(("subject", "content", "nothing"), 0)
    for number in range(count):
        leak, rng = LEAKS[number % len(LEAKS)], random.Random(number)
        root = tmp_path / f"{number}"
        first, second = _plant(root, leak, rng)
        train = _convert(shard, first, root / "train", leak.first, TRAIN)
        test = _convert(shard, second, root / "test", leak.second, TEST)
        folders = [str(root / "train"), str(root / "test")]
        rng.shuffle(folders)
        capsys.readouterr()
        status = main(["verify", *folders])
        printed = capsys.readouterr().out
        assert status == (leak.what != "nothing"), (number, leak, printed)
        for folder in folders:
            assert main(["verify", folder]) == 0
        lines = [line for line in printed.splitlines() if line.startswith("fault: ")]
        assert len(lines) == (leak.what != "nothing"), printed
        if leak.what == "content":
            assert "the same samples are in test" in lines[0]
        if leak.what == "subject":
            assert "subject" in lines[0]
            assert any(name in lines[0] for name in train & test)
        found[leak.what] += 1
    figure("planted", found["subject"] + found["content"])
    figure("clean pairs", found["nothing"])


@pytest.mark.promise(
    "R12",
    asked="leaks inside one set: the same samples under another name and another subject",
    full=50,
    small=2,
)
def test_leaks_inside_a_set_are_found(
    tmp_path: Path, shard: Shard, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    for number in range(count):
        rng, root = random.Random(number), tmp_path / f"{number}"
        for subject in range(10):
            _write(root / "in" / f"s{subject}" / "a.edf", rng.getrandbits(60))
        source, copy = rng.sample(range(10), k=2)
        _copy(root / "in" / f"s{source}" / "a.edf", root / "in" / f"s{copy}" / "b.edf", rng)
        words = ["--split", "val=0.3,test=0.3"]
        assert shard(root / "in", root / "out", *words) == 0
        rows = open_shard_set(root / "out").recordings.to_pylist()
        twins = [row["content_sha256"] for row in rows]
        splits = {row["split"] for row in rows if twins.count(row["content_sha256"]) == 2}
        assert len(twins) == len(set(twins)) + 1
        warned = "warning: the same samples are in" in capsys.readouterr().out
        # In one split it is no leak.
        assert warned == (len(splits) == 2)
        assert main(["verify", str(root / "out")]) == int(len(splits) == 2)


def test_links_of_the_registry_are_mutual() -> None:
    definitions = {name: load_definition(name) for name in list_definitions()}
    for name, definition in definitions.items():
        assert name not in definition.linked
        for other in definition.linked:
            assert name in definitions[other].linked, f"{other} does not link {name}"
    assert set(definitions["tueg"].linked) == {"tuab", "tuev", "tusz"}


def test_a_corpus_under_another_name_is_linked_with_itself(tmp_path: Path, shard: Shard) -> None:
    for name in ("eegmmidb", "tuab", "folder"):
        root = tmp_path / name
        _write(root / "in" / LAYOUTS[name].format(subject=_subjects(name)[0]), 1)
        words = ["--corpus", name, "--name", "mine", "--split", TRAIN]
        assert shard(root / "in", root / "out", *words) == 0
        linked = set(open_shard_set(root / "out").info.linked_corpora)
        own = set() if name == "folder" else {name}
        assert linked == own | set(load_definition(name).linked)


def _plant(root: Path, leak: _Leak, rng: random.Random) -> tuple[Path, Path]:
    """Write two corpora of three subjects, and the leak; return their folders."""
    first, second = root / "first", root / "second"
    mine, theirs = _subjects(leak.first)[:3], _subjects(leak.second)[3:6]
    if leak.what == "subject":
        theirs[rng.randrange(3)] = rng.choice(mine)
    paths = [first / LAYOUTS[leak.first].format(subject=name) for name in mine]
    others = [second / LAYOUTS[leak.second].format(subject=name) for name in theirs]
    for path in (*paths, *others):
        _write(path, rng.getrandbits(60))
    if leak.what == "content":
        _copy(rng.choice(paths), rng.choice(others), rng)
    return first, second


def _subjects(corpus: str) -> list[str]:
    if corpus == "eegmmidb":
        return [f"S{number:03d}" for number in range(1, 7)]
    return [f"aaaaaaa{letter}" for letter in "abcdef"]


def _write(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 20, (3, 4 * RATE_HZ))
    write_edf(path, values, labels=NAMES, sampling_rate_hz=RATE_HZ, physical_range=(-200.0, 200.0))


def _copy(source: Path, target: Path, rng: random.Random) -> None:
    """Write the samples of `source` to `target` with other labels, order, kind and records."""
    header = 256 * (len(NAMES) + 1)
    digital = np.frombuffer(source.read_bytes()[header:], "<i2").reshape(-1, len(NAMES), RATE_HZ)
    channels = digital.transpose(1, 0, 2).reshape(len(NAMES), -1)
    order = rng.sample(range(len(NAMES)), k=len(NAMES))
    labels = [f"EEG {NAMES[index].upper()}-REF" for index in order]
    low, high = -200.0, 200.0
    values = low + (channels[order].astype(np.float64) + 32768) * (high - low) / 65535
    write_edf(
        target,
        values,
        labels=labels,
        sampling_rate_hz=RATE_HZ,
        physical_range=(low, high),
        kind=rng.choice(["edf", "edf+c"]),
        record_duration_s=rng.choice([0.5, 2.0]),
    )


def _convert(shard: Shard, root: Path, out: Path, corpus: str, split: str) -> set[str]:
    """Convert a corpus into one split and return its subjects as the set names them."""
    words = ["--corpus", corpus, "--split", split]
    if corpus == "folder":
        words += ["--name", "mine"]
    assert shard(root, out, *words) == 0
    return set(open_shard_set(out).recordings["subject"].to_pylist())
