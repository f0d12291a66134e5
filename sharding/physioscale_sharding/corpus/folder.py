"""Recordings of a plain folder.

In:  a folder of EDF or BDF files, at any depth.
Out: recordings with their subject (see `subjects`), the labels of the tables in the root, and the
     annotations of files that belong to them.
"""

from pathlib import Path

from physioscale.errors import InputError
from physioscale_sharding.corpus.annotation_files import AnnotationFiles
from physioscale_sharding.corpus.definition import CorpusDefinition
from physioscale_sharding.corpus.formats import is_readable, unread_format, why_unread
from physioscale_sharding.corpus.recording import Corpus, Label, Rejected, SourceRecording
from physioscale_sharding.corpus.subjects import (
    FileFacts,
    LabelsTable,
    facts_of_files,
    labels_table,
)
from physioscale_sharding.corpus.tables import labels_of_rows, read_table, rows_by
from physioscale_sharding.corpus.walk import Tree, leaves_tree, walk

LABEL_FILES = ("labels.csv", "labels.tsv", "recordings.tsv")
PARTICIPANT_FILES = ("participants.tsv", "participants.csv")


def find_in_folder(
    root: Path, *, definition: CorpusDefinition, subject_pattern: str | None
) -> tuple[Tree, Corpus]:
    """Return the tree and its recordings; what the walk refused is the caller's to report.

    Raises:
        InputError: no way to tell the subjects, a bad pattern, or a damaged table.
    """
    tree = walk(root)
    annotation_files = AnnotationFiles(tree, definition)
    paths = [p for p in tree.sizes_bytes if is_readable(p) and p not in annotation_files.paths]
    rejected = {p: why_unread(p) for p in tree.sizes_bytes if unread_format(p)}
    labels, label_notes = _labels_table(tree, definition)
    participants, participant_notes = _participants(tree, definition)
    facts, unknown = facts_of_files(
        paths,
        table=labels,
        pattern=subject_pattern or definition.subject_pattern,
        where=str(root),
    )
    rejected |= unknown
    if labels is not None:
        rejected |= _listed_only(labels, tree)
    recordings = [
        _recording(
            tree,
            path,
            facts=found,
            participants=participants,
            definition=definition,
            annotation_files=annotation_files,
        )
        for path, found in facts.items()
    ]
    corpus = Corpus(
        root=root,
        definition=definition,
        recordings=tuple(recordings),
        rejected=tuple(Rejected(path=path, reason=reason) for path, reason in rejected.items()),
        notes=(*label_notes, *participant_notes, *annotation_files.unjoined(recordings)),
    )
    return tree, corpus


def _recording(
    tree: Tree,
    path: str,
    *,
    facts: FileFacts,
    participants: dict[str, dict[str, Label]],
    definition: CorpusDefinition,
    annotation_files: AnnotationFiles,
) -> SourceRecording:
    key = {"subject": facts.subject, "session": facts.session, "run": facts.run}
    events, notes = annotation_files.events(path, key)
    return SourceRecording(
        path=path,
        absolute=tree.root / path,
        subject=facts.subject,
        session=facts.session,
        task=facts.task or definition.tasks.get(facts.run or ""),
        run=facts.run,
        labels=participants.get(facts.subject.removeprefix("sub-"), {}) | dict(facts.labels),
        events=events,
        subject_is_public=definition.public_subject_ids,
        size_bytes=tree.sizes_bytes[path],
        notes=notes,
    )


def _labels_table(
    tree: Tree, definition: CorpusDefinition
) -> tuple[LabelsTable | None, tuple[str, ...]]:
    name = _table_name(tree, definition.labels_file, LABEL_FILES)
    if name is None:
        return None, _absent_note(definition.labels_file)
    table = labels_table(read_table(tree.root / name, where=name))
    return table, table.notes


def _participants(
    tree: Tree, definition: CorpusDefinition
) -> tuple[dict[str, dict[str, Label]], tuple[str, ...]]:
    name = _table_name(tree, definition.participants_file, PARTICIPANT_FILES)
    if name is None:
        return {}, _absent_note(definition.participants_file)
    table = read_table(tree.root / name, where=name)
    keys = [definition.participants_key] if definition.participants_key else []
    key = next((k for k in keys or ("participant_id", "subject") if k in table.columns), None)
    if key is None:
        raise InputError(
            name,
            found=f"columns {', '.join(table.columns[:8])}",
            expected=f"a column {keys[0] if keys else 'participant_id or subject'}",
            do="Name the column that holds the subject.",
        )
    rows, notes = labels_of_rows(table, leave_out=(key,))
    by_subject = rows_by(table, key, rows=rows)
    return {subject.removeprefix("sub-"): row for subject, row in by_subject.items()}, notes


def _table_name(tree: Tree, named: str | None, usual: tuple[str, ...]) -> str | None:
    """Return the table that the definition names, or the one with a usual name in the root."""
    if named is not None:
        return named if named in tree.sizes_bytes else None
    present = [name for name in usual if name in tree.sizes_bytes]
    if len(present) > 1:
        raise InputError(
            str(tree.root),
            found=f"both {present[0]} and {present[1]}",
            expected="one of them",
            do="Remove one, or name the one that counts in a corpus definition.",
        )
    return present[0] if present else None


def _absent_note(named: str | None) -> tuple[str, ...]:
    return (f"table_absent: {named} is not in the folder",) if named else ()


def _listed_only(labels: LabelsTable, tree: Tree) -> dict[str, str]:
    """Return the reason for each path that the table names and the folder does not hold."""
    listed = (*labels.rows, *labels.without_subject)
    return {
        path: f"named in {labels.name}, but "
        + ("it leaves the corpus folder" if leaves_tree(path) else "not in the folder")
        for path in listed
        if path not in tree.sizes_bytes and path not in tree.refused
    }
