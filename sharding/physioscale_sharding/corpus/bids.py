"""Recordings of a BIDS tree.

In:  a folder with `dataset_description.json` and `sub-*/[ses-*/]eeg/*_eeg.{edf,bdf}`.
Out: recordings with subject, session, task and run from their names, labels from the tables of
     participants, sessions and scans (the nearer table counts), and the side files that apply.

A damaged side file costs the recording that side file, with a note, and not the recording. Code,
derivatives, source data and stimuli are no recordings and are left out.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from physioscale.errors import InputError
from physioscale_sharding.corpus.definition import CorpusDefinition
from physioscale_sharding.corpus.formats import is_readable, unread_format, why_unread
from physioscale_sharding.corpus.recording import Corpus, Label, Rejected, SourceRecording
from physioscale_sharding.corpus.sidecars import (
    SideFiles,
    channels_of_table,
    events_of_table,
    parse_name,
)
from physioscale_sharding.corpus.tables import labels_of_rows, read_table, rows_by
from physioscale_sharding.corpus.walk import Tree, walk

SKIPPED_FOLDERS = frozenset({"code", "derivatives", "sourcedata", "stimuli", "phenotype"})
_MODALITY_FOLDERS = ("eeg", "ieeg", "meg", "emg", "nirs", "motion", "beh")
_DESCRIPTION = "dataset_description.json"

T = TypeVar("T")


def find_in_bids(root: Path, *, definition: CorpusDefinition) -> tuple[Tree, Corpus]:
    """Return the tree and its recordings; what the walk refused is the caller's to report.

    Raises:
        InputError: no BIDS tree, or a damaged participants table.
    """
    tree = walk(root, skip=SKIPPED_FOLDERS)
    if _DESCRIPTION not in tree.sizes_bytes:
        raise InputError(
            str(root),
            found=f"no {_DESCRIPTION}, so this is no BIDS tree",
            expected=f"{_DESCRIPTION} in the corpus folder",
            do="Name the folder that holds it, or use the definition 'folder' for a plain folder.",
        )
    side_files = SideFiles(root, list(tree.sizes_bytes))
    tables = _LabelTables(tree)
    recordings, rejected, others = [], [], []
    for path in tree.sizes_bytes:
        if not is_readable(path) and not unread_format(path):
            continue
        if _is_other_modality(path, definition.modality):
            others.append(path)
            continue
        entities, reason = _entities(path, definition.modality)
        if reason:
            rejected.append(Rejected(path=path, reason=reason))
            continue
        recording = _recording(
            tree,
            path,
            entities=entities,
            definition=definition,
            side_files=side_files,
            tables=tables,
        )
        recordings.append(recording)
    corpus = Corpus(
        root=root,
        definition=definition,
        recordings=tuple(recordings),
        rejected=tuple(rejected),
        notes=(*tables.notes, *tables.missing_subjects(recordings), *_others_note(others)),
    )
    return tree, corpus


class _LabelTables:
    """The tables of participants, sessions and scans of one tree, each read once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._rows: dict[str, dict[str, dict[str, Label]]] = {}
        self.notes: list[str] = []
        self._participants = self._read("participants.tsv", "participant_id")

    def of_participant(self, entities: Mapping[str, str]) -> dict[str, Label]:
        """Return the labels of a recording's subject."""
        return self._participants.get(f"sub-{entities['sub']}", {})

    def of_session(self, entities: Mapping[str, str]) -> dict[str, Label]:
        """Return the labels of a recording's session.

        Raises:
            InputError: a damaged table.
        """
        subject = f"sub-{entities['sub']}"
        rows = self._read(f"{subject}/{subject}_sessions.tsv", "session_id")
        return rows.get(f"ses-{entities.get('ses', '')}", {})

    def of_scan(self, path: str, entities: Mapping[str, str]) -> dict[str, Label]:
        """Return the labels of the recording at `path` alone.

        Raises:
            InputError: a damaged table.
        """
        stem = f"sub-{entities['sub']}"
        folder = f"{stem}/"
        if "ses" in entities:
            folder, stem = f"{stem}/ses-{entities['ses']}/", f"{stem}_ses-{entities['ses']}"
        rows = self._read(f"{folder}{stem}_scans.tsv", "filename")
        return rows.get(path.removeprefix(folder), {})

    def missing_subjects(self, recordings: list[SourceRecording]) -> tuple[str, ...]:
        """Return a note on subjects that the participants table leaves out."""
        subjects = {f"sub-{recording.subject}" for recording in recordings}
        absent = sorted(subjects - set(self._participants))
        if not absent or not self._participants:
            return ()
        return (
            f"subjects_without_row: {len(absent)} of {len(subjects)} subjects have no row in "
            f"participants.tsv (first: {absent[0]})",
        )

    def _read(self, path: str, key: str) -> dict[str, dict[str, Label]]:
        if path not in self._rows and path in self._tree.sizes_bytes:
            table = read_table(self._tree.root / path, where=path)
            rows, notes = labels_of_rows(table, leave_out=(key,))
            self._rows[path] = rows_by(table, key, rows=rows)
            self.notes += notes
        return self._rows.get(path, {})


def _is_other_modality(path: str, modality: str) -> bool:
    """Whether a recording lies where BIDS puts those of another modality."""
    folder = f"/{path}".rsplit("/", 2)[-2]
    return folder in _MODALITY_FOLDERS and folder != modality


def _others_note(paths: list[str]) -> tuple[str, ...]:
    if not paths:
        return ()
    return (f"other_modality: {len(paths)} recordings of other modalities (first: {paths[0]})",)


def _entities(path: str, modality: str) -> tuple[Mapping[str, str], str]:
    """Return the entities of a recording's name, or none and why it is not taken."""
    *folders, name = path.split("/")
    parsed = parse_name(name)
    if parsed is None or "sub" not in parsed.entities:
        return {}, "its name is not that of a BIDS recording (sub-..._eeg.edf)"
    entities = parsed.entities
    session = [f"ses-{entities['ses']}"] if "ses" in entities else []
    expected = [f"sub-{entities['sub']}", *session, modality]
    if parsed.suffix != modality or folders != expected:
        place = "/".join(expected)
        return {}, f"not in {place}/ or not *_{modality}: its name and folder disagree"
    if not is_readable(path):
        return {}, why_unread(path)
    return entities, ""


def _recording(
    tree: Tree,
    path: str,
    *,
    entities: Mapping[str, str],
    definition: CorpusDefinition,
    side_files: SideFiles,
    tables: _LabelTables,
) -> SourceRecording:
    notes: list[str] = []

    def optional(read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except InputError as error:
            notes.append(f"side_file_unused: {error.where}: {error.found}")
            return None

    kind = definition.modality
    fields = optional(lambda: side_files.fields(path, kind, entities=entities)) or {}
    events = optional(lambda: side_files.table(path, "events", entities=entities))
    labelled = optional(lambda: events_of_table(events) if events else None)
    channels = optional(lambda: side_files.table(path, "channels", entities=entities))
    notes += labelled[1] if labelled else ()
    run = entities.get("run")
    return SourceRecording(
        path=path,
        absolute=tree.root / path,
        subject=entities["sub"],
        session=entities.get("ses"),
        task=entities.get("task") or definition.tasks.get(run or ""),
        run=run,
        labels={
            **tables.of_participant(entities),
            **(optional(lambda: tables.of_session(entities)) or {}),
            **(optional(lambda: tables.of_scan(path, entities)) or {}),
        },
        events=labelled[0] if labelled else None,
        channels=optional(lambda: channels_of_table(channels) if channels else None),
        electrodes=optional(lambda: side_files.electrodes(path, entities)),
        reference=_text(fields.get(f"{_prefix(kind)}Reference")),
        line_frequency_hz=_positive(fields.get("PowerLineFrequency")),
        subject_is_public=definition.public_subject_ids,
        size_bytes=tree.sizes_bytes[path],
        notes=tuple(notes),
    )


def _prefix(modality: str) -> str:
    return "iEEG" if modality == "ieeg" else modality.upper()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value not in ("", "n/a") else None


def _positive(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if is_number and isinstance(value, int | float) else 0.0
    return number if math.isfinite(number) and number > 0 else None
