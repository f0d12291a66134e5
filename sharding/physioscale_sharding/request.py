"""What is asked for, what the corpus folder holds, and the plan that follows from both.

In:  a `Request`: corpus folder, definition, profile. Out: `Found`, then the `Plan`. Nothing is
written here.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from physioscale.errors import InputError
from physioscale_sharding.corpus import Corpus, CorpusDefinition, find_recordings
from physioscale_sharding.identity import DEFAULT_KEY, are_public
from physioscale_sharding.plan import Plan, Scanned, make_plan, request_parts
from physioscale_sharding.pool import run_jobs
from physioscale_sharding.prepare import Conversion
from physioscale_sharding.profile import NamedProfile
from physioscale_sharding.quarantine import Quarantined, rejected
from physioscale_sharding.work import ScanJob, scan

Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
"""(what, total, unit) -> a context that yields a function told how much was done."""

_SCANNED_AT_ONCE = 32


@dataclass(frozen=True)
class Request:
    """What to convert, and how."""

    root: Path
    definition: CorpusDefinition
    corpus: str
    """Name of the corpus in the shard set."""
    profile: NamedProfile
    subject_pattern: str | None = None
    key: bytes = DEFAULT_KEY
    """Secret of the keyed hashes."""


@dataclass(frozen=True)
class Found:
    """A request with what is in its corpus folder."""

    corpus: Corpus
    conversion: Conversion
    profile: NamedProfile
    parts: dict[str, str]
    """Hash of each part of the request."""

    @property
    def num_files(self) -> int:
        """Files that are recordings or look like one."""
        return len(self.corpus.recordings) + len(self.corpus.rejected)


def silent(what: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress."""

    @contextmanager
    def context() -> Iterator[Callable[[int], None]]:
        yield lambda done: None

    return context()


def find(request: Request) -> Found:
    """Return the recordings of a request's corpus.

    Raises:
        InputError: no such folder, or not a single recording in it.
    """
    corpus = find_recordings(
        request.root, definition=request.definition, subject_pattern=request.subject_pattern
    )
    _check_not_empty(corpus)
    profile = request.profile.profile
    conversion = Conversion(
        root=request.root,
        corpus=request.corpus,
        definition=request.definition,
        profile=profile,
        public=are_public(corpus.recordings, subject_ids=profile.subject_ids),
        key=request.key,
    )
    parts = request_parts(corpus, conversion=conversion, profile=request.profile)
    return Found(corpus, conversion, request.profile, parts)


def plan_corpus(found: Found, *, num_workers: int, progress: Progress = silent) -> Plan:
    """Read every header and return the plan; nothing is written."""
    recordings = found.corpus.recordings
    jobs = [
        ScanJob(found.conversion, recordings[at : at + _SCANNED_AT_ONCE])
        for at in range(0, len(recordings), _SCANNED_AT_ONCE)
    ]
    scanned: list[Scanned] = []
    lost = [rejected(one.path, reason=one.reason) for one in found.corpus.rejected]
    with progress("read headers", len(recordings), "files") as advance:
        for _, results in run_jobs(scan, jobs, num_workers=num_workers):
            scanned += [one for one in results if isinstance(one, Scanned)]
            lost += [one for one in results if isinstance(one, Quarantined)]
            advance(len(results))
    return make_plan(
        recordings, scanned, request=found.parts, quarantined=lost, profile=found.profile
    )


def _check_not_empty(corpus: Corpus) -> None:
    if corpus.recordings:
        return
    first = corpus.rejected[0]
    raise InputError(
        str(corpus.root),
        found=f"no recording that can be taken; {len(corpus.rejected)} files were rejected "
        f"(first: {first.path}: {first.reason})",
        expected="at least one EDF or BDF file",
        do="Name the folder that holds the recordings, or mend what the reason names.",
    )
