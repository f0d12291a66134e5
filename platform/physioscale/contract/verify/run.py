"""The whole of `verify`: every set by itself, then all of them together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from physioscale.contract.dataset import open_shard_set
from physioscale.contract.schema import DATASET_FILE
from physioscale.contract.verify.files import check_files, open_tables
from physioscale.contract.verify.leaks import check_leaks
from physioscale.contract.verify.opened import OpenedSet
from physioscale.contract.verify.report import Fault, SetCounts, VerifyReport
from physioscale.contract.verify.shard import check_shards
from physioscale.contract.verify.tables import check_tables
from physioscale.errors import InputError, MissingInputError


def verify_shard_sets(
    paths: Sequence[Path | str], *, on_bytes: Callable[[int], None] | None = None
) -> VerifyReport:
    """Read every byte of the shard sets and compare it with what was written.

    Args:
        paths: folders; sets that are given together are also searched for subjects and content
            that stand in different splits of them.
        on_bytes: called with the number of bytes read since the last call; they add up to about
            `num_bytes(paths)`.

    Raises:
        MissingInputError: a folder does not exist or holds no `dataset.json`.
        InputError: a folder was named twice.
    """
    report_bytes = on_bytes or _ignore
    _check_named_once(paths)
    faults: list[Fault] = []
    sets: list[OpenedSet] = []
    for path in paths:
        opened = _open(path, faults)
        if opened is not None:
            sets.append(opened)
    for opened in sets:
        faults += check_files(opened, on_bytes=report_bytes)
        faults += check_shards(opened, on_bytes=report_bytes)
        faults += check_tables(opened)
    faults += check_leaks(sets)
    return VerifyReport(tuple(faults), tuple(_counts(opened) for opened in sets))


def num_bytes(paths: Sequence[Path | str]) -> int:
    """Return the size of all files in the folders."""
    files = (file for path in paths for file in Path(path).rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _open(path: Path | str, faults: list[Fault]) -> OpenedSet | None:
    try:
        return open_tables(str(path), Path(path), open_shard_set(path).info)
    except MissingInputError:
        raise
    except InputError as error:
        message = f"{error.found}; expected {error.expected}. {error.do}"
        faults.append(Fault(str(path), DATASET_FILE, None, None, message))
        return None


def _check_named_once(paths: Sequence[Path | str]) -> None:
    seen: set[Path] = set()
    for path in paths:
        folder = Path(path).resolve()
        if folder in seen:
            raise InputError(
                str(path), found="a folder named twice", expected="each once", do="Drop one."
            )
        seen.add(folder)


def _counts(opened: OpenedSet) -> SetCounts:
    splits = opened.info.splits.values()
    return SetCounts(
        shard_set=opened.name,
        corpus=opened.info.corpus,
        shards=len(opened.info.shards),
        segments=sum(split.segments for split in splits),
        recordings=sum(split.recordings for split in splits),
        subjects=sum(split.subjects for split in splits),
        hours=sum(split.hours for split in splits),
        num_bytes=sum(shard.num_bytes for shard in opened.info.shards),
    )


def _ignore(_: int) -> None:
    return None
