"""R13: nothing that names a patient is in shards, tables, quarantine, reports or logs.

Names, birth dates, record numbers and dates are planted wherever a corpus can hold them, and
looked for in every raw byte, every decoded value and all that is printed.
"""

import json
import random
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from physioscale.cli.main import main
from physioscale.testing import Annotation, truncate, write_bids_corpus, write_edf

Shard = Callable[..., int]
Figure = Callable[[str, object], None]

NAMES = ("Fp1", "Cz", "O2")
MONTHS = ("JAN", "MAR", "AUG", "NOV")
LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True)
class _Person:
    """Someone whom nothing may name; the words occur nowhere else."""

    first: str
    last: str
    number: str
    birth: tuple[int, int, int]
    seen: tuple[int, int, int]
    """Year, month and day of the recording."""

    @classmethod
    def random(cls, rng: random.Random) -> "_Person":
        first, last = ("".join(rng.choices(LETTERS, k=9)).capitalize() for _ in range(2))
        # No year that occurs in licences, versions or the standard's own start date.
        birth = (rng.randint(1931, 1959), rng.choice([1, 3, 8, 11]), rng.randint(13, 28))
        seen = (rng.randint(1991, 1999), rng.choice([1, 3, 8, 11]), rng.randint(13, 28))
        return cls(first, last, f"MRN{rng.randrange(10**8, 10**9)}", birth, seen)

    @property
    def secrets(self) -> set[str]:
        """What to look for, in lower case."""
        dates = (text for date in (self.birth, self.seen) for text in _written(date))
        return {text.lower() for text in (self.first, self.last, self.number, *dates)}


def _written(date: tuple[int, int, int]) -> set[str]:
    """Return a date as headers and tables write it."""
    year, month, day = date
    name = MONTHS[[1, 3, 8, 11].index(month)]
    return {
        f"{day:02d}-{name}-{year}",
        f"{day:02d}.{month:02d}.{year % 100:02d}",
        f"{day:02d}.{month:02d}.{year}",
        f"{year}-{month:02d}-{day:02d}",
        f"{year}{month:02d}{day:02d}",
    }


def _iso(date: tuple[int, int, int]) -> str:
    return "{}-{:02d}-{:02d}".format(*date)


def _compact(date: tuple[int, int, int]) -> str:
    return "{}{:02d}{:02d}".format(*date)


@pytest.mark.promise(
    "R13",
    asked="planted names, birth dates, ids and dates in EDF and BDF headers, annotations, tables, "
    "file and folder names: 0 found in raw bytes, decoded values and logs",
    full=200,
    small=4,
)
def test_a_plain_folder_names_nobody(
    tmp_path: Path, shard: Shard, capfd: pytest.CaptureFixture[str], count: int, figure: Figure
) -> None:
    rng = random.Random(13)
    root, out = tmp_path / "in", tmp_path / "out"
    people = [_Person.random(rng) for _ in range(max(4, count))]
    for number, person in enumerate(people):
        _write_person(root, person, bdf=number % 2 == 1)
    _write_tables(root, people)
    printed = _convert_and_print(shard, root, out, capfd)
    _check(out, printed, people, figure)


@pytest.mark.promise(
    "R13",
    asked="the same in a BIDS tree: participants, sessions, scans, JSON side files, labels of "
    "subjects and sessions",
    full=200,
    small=3,
)
def test_a_bids_tree_names_nobody(
    tmp_path: Path, shard: Shard, capfd: pytest.CaptureFixture[str], count: int, figure: Figure
) -> None:
    rng = random.Random(31)
    root, out = tmp_path / "in", tmp_path / "out"
    people = [_Person.random(rng) for _ in range(max(3, count))]
    size: dict[str, Any] = {"num_subjects": 1, "duration_s": 4, "sampling_rate_hz": 64}
    write_bids_corpus(root, channel_names=NAMES, **size)
    for person in people:
        _write_bids_person(root, person)
    _write_bids_tables(root, people)
    printed = _convert_and_print(shard, root, out, capfd)
    _check(out, printed, people, figure)


def _write_person(root: Path, person: _Person, *, bdf: bool) -> None:
    """Write a folder that is named like the person, with a sound and a broken file."""
    day, month, year = person.seen[2], person.seen[1], person.seen[0] % 100
    header: dict[str, Any] = {
        "patient": f"{person.number} F {sorted(_written(person.birth))[0]} "
        f"{person.first}_{person.last}",
        "recording": f"Startdate {sorted(_written(person.seen))[0]} {person.number} {person.last}",
        "startdate": f"{day:02d}.{month:02d}.{year:02d}",
        "transducer": f"cap of {person.last}",
        "prefiltering": f"HP:0.1Hz {person.last}",
    }
    notes = [
        Annotation(1.0, f"{person.first} {person.last} coughs"),
        Annotation(2.0, person.number),
    ]
    folder = root / f"{person.last}_{person.first}"
    suffix = "bdf" if bdf else "edf"
    for name in (f"{person.number}_{_iso(person.seen)}", f"{person.first}-cut"):
        write_edf(
            folder / f"{name}.{suffix}",
            _noise(person),
            labels=NAMES,
            sampling_rate_hz=64,
            kind=f"{suffix}+c",  # type: ignore[arg-type]  # one of its literals
            annotations=notes,
            **header,
        )
    truncate(folder / f"{person.first}-cut.{suffix}", keep_share=0.6)
    # A shifted header puts the name where a number should be.
    shifted = folder / f"{person.last}-shifted.{suffix}"
    data = (folder / f"{person.number}_{_iso(person.seen)}.{suffix}").read_bytes()
    shifted.write_bytes(data[:236] + f"{person.last}".encode()[:8].ljust(8) + data[244:])
    (folder / f"{person.last}.vhdr").write_text(f"; {person.first}")


def _noise(person: _Person) -> Any:
    seed = int(person.number.removeprefix("MRN"))
    return np.random.default_rng(seed).normal(0, 20, (len(NAMES), 4 * 64))


def _write_tables(root: Path, people: list[_Person]) -> None:
    columns = ("participant_id", "name", "birth_date", "MRN", "age", "seen", "remarks")
    rows = [
        (
            f"{person.last}_{person.first}",
            f"{person.first} {person.last}",
            _iso(person.birth),
            person.number,
            f"{40 + number}",
            _iso(person.seen),
            f"friend of {person.last}",
        )
        for number, person in enumerate(people)
    ]
    _write_tsv(root / "participants.tsv", columns, rows)


def _write_bids_person(root: Path, person: _Person) -> None:
    subject, session = person.last, f"ses-{_compact(person.seen)}"
    folder = root / f"sub-{subject}" / session / "eeg"
    stem = f"sub-{subject}_{session}_task-rest"
    day, month, year = person.seen[2], person.seen[1], person.seen[0] % 100
    write_edf(
        folder / f"{stem}_eeg.edf",
        _noise(person),
        labels=NAMES,
        sampling_rate_hz=64,
        patient=f"{person.number} F {sorted(_written(person.birth))[0]} {person.first}",
        startdate=f"{day:02d}.{month:02d}.{year:02d}",
    )
    fields = {
        "TaskName": "rest",
        "TaskDescription": f"{person.first} {person.last} rests",
        "SubjectName": f"{person.first} {person.last}",
        "PatientID": person.number,
        "PatientBirthDate": _iso(person.birth),
        "AcquisitionDateTime": f"{_iso(person.seen)}T11:22:33",
        "InstitutionAddress": f"{person.last} street",
        "PowerLineFrequency": 50,
        "EEGReference": "Cz",
        "SoftwareFilters": {person.last: {"order": 4}},
    }
    (folder / f"{stem}_eeg.json").write_text(json.dumps(fields))
    broken = folder / f"{stem}_channels.tsv"
    broken.write_text(f"name\ttype\n{person.last}\n")
    (folder / f"{stem}_run-{person.last}_eeg.edf").write_bytes(b"0       " + person.last.encode())
    scan = f"eeg/{stem}_eeg.edf"
    place = folder.parent / f"sub-{subject}_{session}_scans.tsv"
    columns = ("filename", "acq_time", "operator_name", "comments")
    row = (scan, f"{_iso(person.seen)}T11:22:33", person.last, person.first)
    _write_tsv(place, columns, [row])


def _write_bids_tables(root: Path, people: list[_Person]) -> None:
    columns = ("participant_id", "age", "full_name", "date_of_birth", "patient_id", "notes")
    rows = [
        (
            f"sub-{person.last}",
            f"{30 + number}",
            f"{person.first} {person.last}",
            _iso(person.birth),
            person.number,
            f"mother of {person.first}",
        )
        for number, person in enumerate(people)
    ]
    _write_tsv(root / "participants.tsv", columns, [("sub-01", *["n/a"] * 5), *rows])


def _write_tsv(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    lines = ["\t".join(row) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n")


def _convert_and_print(
    shard: Shard, root: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> str:
    """Plan, convert, convert again and verify; return all that was printed."""
    words = ("--split", "val=0.2,test=0.2", "--max-quarantined", "1")
    assert shard(root, out, *words, "--dry-run") == 0
    assert shard(root, out, *words) == 0
    assert shard(root, out, *words) == 0
    assert main(["verify", str(out), "--json"]) == 0
    return "".join(capfd.readouterr())


def _check(out: Path, printed: str, people: list[_Person], figure: Figure) -> None:
    secrets = {secret for person in people for secret in person.secrets}
    pattern = re.compile("|".join(sorted(map(re.escape, secrets))))
    texts = {"log": printed, **dict(_texts(out))}
    found = {place: sorted(set(pattern.findall(text.lower()))) for place, text in texts.items()}
    assert sum(place.endswith(": values") for place in texts) >= 2, "decoded tables"
    assert any(place.endswith("meta.json") for place in texts), "decoded segments"
    leaking = {place: words[:5] for place, words in found.items() if words}
    assert not leaking
    figure("secrets", len(secrets))
    figure("texts searched", len(texts))


def _texts(out: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of each file: its name, its raw bytes, and whatever they decode to."""
    for path in sorted(out.rglob("*")):
        yield f"{path.name}: name", path.name
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield from _as_text(path.name, data)
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"{path.name}: values", json.dumps(table.to_pylist(), ensure_ascii=False)
            yield f"{path.name}: schema", f"{table.schema} {table.schema.metadata}"
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    assert file is not None
                    content = file.read()
                    yield f"{member.name}: header", repr(member.get_info())
                    yield from _as_text(member.name, content)
                    if member.name.endswith(".npy"):
                        values = np.load(BytesIO(content), allow_pickle=False)
                        yield from _as_text(member.name, values.tobytes())


def _as_text(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    yield name, data.decode("utf-8", "replace")
    yield f"{name}: latin-1", data.decode("latin-1")
    yield f"{name}: utf-16", data.decode("utf-16-le", "replace")
