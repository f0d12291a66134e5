"""A whole conversion: plan, items, merge; from the start or from where it was stopped.

In:  a corpus folder and what to do with it (`Request`).
Out: the shard set in `out`, and an `Outcome` for a person.

Resuming needs no word: the folder's own plan decides. The same request goes on with it, a finished
set is left alone, another request is refused. With a `Task` one process does every N-th item; the
one that finds all of them done merges.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from physioscale.contract import (
    DATASET_FILE,
    QUARANTINE_FILE,
    DatasetInfo,
    open_shard_set,
    publish_bytes,
)
from physioscale.errors import InputError
from physioscale_sharding.claims import claimed
from physioscale_sharding.merge import Merged, merge
from physioscale_sharding.plan import Plan, differing_parts, hash_json, package_versions
from physioscale_sharding.pool import run_jobs
from physioscale_sharding.request import Found, Progress, Request, find, plan_corpus, silent
from physioscale_sharding.work import (
    DONE_FOLDER,
    WORK_FOLDER,
    ItemJob,
    WorkFolder,
    convert_item,
    read_result,
)

_WAIT_FOR_DEAD_S = 2.0
_WAIT_FOR_OTHERS_S = 24 * 3600.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Task:
    """One of several processes that share a conversion."""

    index: int
    """From 0."""
    count: int


@dataclass(frozen=True)
class Outcome:
    """What a conversion came to."""

    found: Found
    merged: Merged | None
    """None where other tasks have items left, or everything had been done before."""
    info: DatasetInfo | None
    """The shard set; None where there is none (yet)."""
    num_items_left: int = 0


def convert_corpus(
    request: Request,
    *,
    out: Path,
    num_workers: int,
    task: Task | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Convert a corpus, or go on with a conversion that was stopped.

    Args:
        request: what to convert.
        out: folder of the shard set.
        num_workers: processes that work on items; 1 means this one.
        task: the share of the items that is done here; None: all.
        progress: how to show it.

    Raises:
        InputError: nothing to convert, a folder that holds something else or another conversion,
            a process that is still at work in it, or a full disk.
    """
    found = find(request)
    done = _finished(out, found)
    if done is not None:
        return Outcome(found, None, done)
    work = WorkFolder.of(out)
    _check_free(out, work)
    with _disk_full_is_input(out):
        work.create()
        with claimed(work.lock, wait_s=_WAIT_FOR_DEAD_S, shared=task is not None) as mine:
            if not mine:
                raise _busy(out)
            plan = _plan(found, work, num_workers=num_workers, progress=progress)
            _convert_items(found, plan, work, num_workers, task, progress)
            return _merge_when_done(found, plan, out)


def _plan(found: Found, work: WorkFolder, *, num_workers: int, progress: Progress) -> Plan:
    """Return the folder's plan, made here if there is none."""
    with claimed(work.path / "plan.lock", wait_s=_WAIT_FOR_OTHERS_S):
        if not work.plan.is_file():
            plan = plan_corpus(found, num_workers=num_workers, progress=progress)
            publish_bytes(work.plan, plan.to_json())
            return plan
        return _same_plan(found, work)


def _same_plan(found: Found, work: WorkFolder) -> Plan:
    plan = Plan.from_json(work.plan.read_bytes())
    if plan.request != found.parts:
        raise InputError(
            str(work.path.parent),
            found="an unfinished conversion with another "
            f"{differing_parts(found.parts, plan.request)}",
            expected="the one that was asked for",
            do="Finish it with its own line, or choose another --out.",
        )
    return plan


def _convert_items(
    found: Found,
    plan: Plan,
    work: WorkFolder,
    num_workers: int,
    task: Task | None,
    progress: Progress,
) -> None:
    recordings = {recording.path: recording for recording in found.corpus.recordings}
    mine = [item for item in plan.items if task is None or item.number % task.count == task.index]
    left = [item for item in mine if read_result(work, item.number) is None]
    jobs = [
        ItemJob(
            found.conversion, item, tuple(recordings[one.path] for one in item.recordings), work
        )
        for item in left
    ]
    with progress("convert", sum(item.num_bytes for item in mine), "bytes") as advance:
        advance(sum(item.num_bytes for item in mine) - sum(item.num_bytes for item in left))
        for number, _ in run_jobs(convert_item, jobs, num_workers=num_workers):
            advance(left[number].num_bytes)


def _merge_when_done(found: Found, plan: Plan, out: Path) -> Outcome:
    """Merge if every item is done; another task may be doing it, or have done it."""
    work = WorkFolder.of(out)
    try:
        with claimed(work.path / "merge.lock", wait_s=_WAIT_FOR_OTHERS_S):
            left = sum(read_result(work, item.number) is None for item in plan.items)
            if left and work.plan.is_file():
                return Outcome(found, None, None, num_items_left=left)
            if work.plan.is_file():
                merged = merge(out, plan=plan, conversion=found.conversion, profile=found.profile)
                return Outcome(found, merged, merged.info)
    except FileNotFoundError:
        # The task that merged has taken the work folder away.
        if work.path.exists():
            raise
    return Outcome(found, None, _finished(out, found))


def _finished(out: Path, found: Found) -> DatasetInfo | None:
    """Return the facts of a finished set of this very request, or None where there is no set."""
    if not (out / DATASET_FILE).is_file():
        return None
    info = open_shard_set(out).info
    if info.plan_sha256 != hash_json(found.parts):
        raise InputError(
            str(out),
            found=f"a finished shard set with another {_difference(info, found)}",
            expected="an empty or new folder, or the set that was asked for",
            do="Choose another --out.",
        )
    WorkFolder.of(out).remove()
    return info


def _difference(info: DatasetInfo, found: Found) -> str:
    versions = package_versions()
    changed = [name for name in versions if info.versions.get(name) != versions[name]]
    checks = [
        (info.corpus != found.conversion.corpus, f"corpus ('{info.corpus}')"),
        (info.profile_sha256 != found.profile.sha256, f"profile ('{info.profile.get('name')}')"),
        (bool(changed), f"version of {', '.join(changed)}"),
    ]
    named = [name for differs, name in checks if differs]
    return " and ".join(named) or "content of the corpus folder"


def _check_free(out: Path, work: WorkFolder) -> None:
    """Refuse a folder that holds something else: nobody's files may be mixed with shards."""
    if out.exists() and not out.is_dir():
        raise InputError(str(out), found="a file", expected="a folder", do="Choose another --out.")
    if not out.exists() or work.plan.is_file():
        return
    ours = {WORK_FOLDER, DONE_FOLDER, QUARANTINE_FILE}
    others = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if others:
        raise InputError(
            str(out),
            found=f"{len(others)} files of something else ({others[0]})",
            expected="an empty or new folder",
            do="Choose another --out.",
        )


def _busy(out: Path) -> InputError:
    return InputError(
        str(out),
        found="a conversion that is still running in it",
        expected="one conversion in a folder",
        do="Wait for it, or end it and run the same line again.",
    )


@contextmanager
def _disk_full_is_input(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise InputError(
            str(out),
            found="no space left on its disk",
            expected="room for the shards",
            do="Free some space and run the same line again: what is finished stays.",
        ) from None
