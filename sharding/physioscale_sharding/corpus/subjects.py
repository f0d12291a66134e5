"""Whose recording a file of a plain folder is.

In:  relative paths, and the first of these that a folder offers: a table with a row per file, a
     pattern, the first-level folder.
Out: subject, session, run and task of each file, or the reason why its subject is not known.

One subject per file is never assumed: a guess puts one person into two splits.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from physioscale.errors import InputError
from physioscale_sharding.corpus.definition import compile_pattern
from physioscale_sharding.corpus.recording import Label
from physioscale_sharding.corpus.tables import Table, labels_of_rows

PARTS = ("subject", "session", "run", "task")
# First-level folders that sort recordings by something else than the person.
_NOT_SUBJECTS = re.compile(
    r"train(ing)?|test(ing)?|val(id(ation)?)?|eval(uation)?|dev|data|edf|bdf|raw|eeg|files"
    r"|recordings?|rest|task|(ab)?normal|controls?|patients?|healthy",
    flags=re.IGNORECASE,
)


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file from where it lies and what a table says of it."""

    subject: str
    session: str | None = None
    run: str | None = None
    task: str | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelsTable:
    """A table with a row per recording."""

    name: str
    rows: Mapping[str, FileFacts]
    """By relative path, with "/"; rows without a subject are left out."""
    without_subject: frozenset[str]
    """Paths of the rows that name no subject."""
    notes: tuple[str, ...]


def labels_table(table: Table) -> LabelsTable:
    """Return a table of recordings, by file.

    Raises:
        InputError: no columns file and subject, no file in a row, or a file twice.
    """
    missing = [name for name in ("file", "subject") if name not in table.columns]
    if missing:
        raise InputError(
            table.name,
            found=f"columns {', '.join(table.columns[:8])}",
            expected="columns file and subject (then session, run, task and any labels)",
            do=f"Add {' and '.join(missing)}: file is the path in this folder.",
        )
    labels, notes = labels_of_rows(table, leave_out=("file", *PARTS))
    absent: list[str | None] = [None] * len(table.rows)
    parts = [table.column(name) if name in table.columns else absent for name in PARTS]
    rows: dict[str, FileFacts] = {}
    without: set[str] = set()
    for number, (file, row, *values) in enumerate(
        zip(table.column("file"), labels, *parts, strict=True), start=2
    ):
        path = (file or "").replace("\\", "/")
        if not path or path in rows or path in without:
            what = "a file that occurs before" if path else "no file"
            raise InputError(
                table.name,
                found=f"row {number} has {what}",
                expected="one row for each recording",
                do="Mend the table.",
            )
        subject, session, run, task = values
        if subject is None:
            without.add(path)
        else:
            rows[path] = FileFacts(subject, session, run, task, row)
    return LabelsTable(table.name, rows, frozenset(without), notes)


def facts_of_files(
    paths: Sequence[str], *, table: LabelsTable | None, pattern: str | None, where: str
) -> tuple[dict[str, FileFacts], dict[str, str]]:
    """Return what is known of each file, and the reason for each file whose subject is not known.

    Where a table and a pattern are given, the table's values count and the pattern fills in
    session, run and task.

    Args:
        paths: relative paths, with "/".
        table: the table of recordings, if there is one.
        pattern: regular expression with named groups, searched in each path.
        where: the folder, for messages.

    Raises:
        InputError: no way to tell the subjects, or a way that tells none.
    """
    matched = _by_pattern(paths, pattern, where=where) if pattern else {}
    if table is not None:
        found = {
            path: _filled(table.rows[path], matched.get(path))
            for path in paths
            if path in table.rows
        }
        reason = f"no row in {table.name} names its subject"
    elif pattern:
        found, reason = matched, f"its path does not match the subject pattern '{pattern}'"
    else:
        return _by_folder(paths, where=where), {}
    if paths and not found:
        raise InputError(
            where,
            found=f"{len(paths)} recordings, and for each of them: {reason} (first: {paths[0]})",
            expected="a subject for each recording",
            do="Mend the table." if table else "Mend the pattern.",
        )
    return found, {path: reason for path in paths if path not in found}


def _filled(facts: FileFacts, matched: FileFacts | None) -> FileFacts:
    if matched is None:
        return facts
    return FileFacts(
        subject=facts.subject,
        session=facts.session or matched.session,
        run=facts.run or matched.run,
        task=facts.task or matched.task,
        labels=facts.labels,
    )


def _by_pattern(paths: Sequence[str], pattern: str, *, where: str) -> dict[str, FileFacts]:
    compiled = compile_pattern(pattern, where=f"{where}, subject pattern")
    found = {}
    for path in paths:
        match = compiled.search(path)
        groups: dict[str, str | None] = match.groupdict() if match else {}
        subject = groups.get("subject")
        if subject:
            found[path] = FileFacts(
                subject,
                session=groups.get("session"),
                run=groups.get("run"),
                task=groups.get("task"),
            )
    return found


def _by_folder(paths: Sequence[str], *, where: str) -> dict[str, FileFacts]:
    at_root = [path for path in paths if "/" not in path]
    first = sorted({path.split("/")[0] for path in paths})
    odd = [name for name in first if _NOT_SUBJECTS.fullmatch(name)]
    if not at_root and not odd:
        return {path: FileFacts(path.split("/")[0]) for path in paths}
    if at_root:
        found = f"{len(at_root)} of {len(paths)} recordings lie directly in it ({at_root[0]})"
    else:
        found = f"its folder '{odd[0]}' does not look like a person's"
    raise InputError(
        where,
        found=f"{found}, so their subjects are not known",
        expected="a subject for each recording",
        do="Put a labels.csv with the columns file and subject into the folder, or give a subject "
        "pattern such as '(?P<subject>S\\d+)', or put the files into one folder for each subject.",
    )
