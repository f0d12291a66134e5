"""Corpus definitions: how a corpus is laid out, as data.

In:  `corpora/<name>.yaml` beside this package, or a file of one's own.
Out: a checked `CorpusDefinition`. Definitions are found by listing the folder, not in a registry.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from physioscale.errors import InputError, MissingInputError, suggest

CORPORA_FOLDER = Path(__file__).parent.parent / "corpora"
LAYOUTS = ("bids", "folder")
# Definitions of a layout: the corpora that they are used for have nothing in common.
_GENERIC = ("bids", "folder")
MODALITIES = ("eeg", "ieeg")
PATTERN_GROUPS = ("subject", "session", "run", "task")
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


@dataclass
class CorpusDefinition:
    """How a corpus is laid out and what may be kept of it."""

    name: str = MISSING
    """Lower case letters, digits and "_"; the file's name."""
    title: str = MISSING
    modality: str = MISSING
    """eeg or ieeg; in BIDS trees also the name of the folders that hold recordings."""
    layout: str = MISSING
    """bids (a BIDS tree) or folder (any other tree)."""
    subject_pattern: str | None = None
    """Folder layout: regular expression, searched in each relative path; its named groups are the
    subject (required), session, run and task."""
    labels_file: str | None = None
    """Folder layout: table in the root with a row per recording (columns file, subject, then
    labels). None: labels.csv, labels.tsv or recordings.tsv, whichever is there."""
    participants_file: str | None = None
    """Folder layout: table in the root with a row per subject. None: participants.tsv or .csv."""
    participants_key: str | None = None
    """Column of that table that holds the subject. None: participant_id, else subject."""
    tasks: dict[str, str] = field(default_factory=dict)
    """Task by run, for corpora that number their tasks."""
    annotations_pattern: str | None = None
    """Folder layout: regular expression of EDF+ files that hold annotations only; each belongs to
    the recording whose named groups (subject, session, run) are equal."""
    annotation_labels: list[str] = field(default_factory=list)
    """Annotation texts that are labels of this corpus; all others are free text."""
    cap: str | None = None
    """Montage (as mne names it) that gives device labels such as A1..D32 their electrodes."""
    public_subject_ids: bool = False
    """Whether subject names are pseudonyms that the corpus publishes; others are hashed."""
    licence: str = MISSING
    access: str = MISSING
    """How a person gets the data."""
    linked: list[str] = field(default_factory=list)
    """Corpora that share subjects or recordings with this one, by name."""

    @property
    def is_generic(self) -> bool:
        """Whether it describes a layout that any corpus may have."""
        return self.name in _GENERIC


def list_definitions() -> tuple[str, ...]:
    """Return the names of the definitions that come with the package, sorted."""
    return tuple(sorted(path.stem for path in CORPORA_FOLDER.glob("*.yaml")))


def load_definition(name_or_path: str | Path) -> CorpusDefinition:
    """Return a definition by name, or from a YAML file (a path that ends in .yaml).

    Raises:
        MissingInputError: no such file.
        InputError: unknown name or key, a missing key, or a value that cannot be.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        return _load(Path(text), where=text)
    names = list_definitions()
    if text not in names:
        raise InputError(
            f"corpus '{text}'",
            found=f"no such definition{suggest(text, names)}",
            expected=f"one of {', '.join(names)}, or the path of a .yaml file",
            do="`physioscale ls` prints all.",
        )
    return _load(CORPORA_FOLDER / f"{text}.yaml", where=f"corpora/{text}.yaml")


def compile_pattern(pattern: str, *, where: str) -> re.Pattern[str]:
    """Return a compiled subject pattern.

    Raises:
        InputError: not a regular expression, or without a group named subject.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise _bad(where, f"'{pattern}' ({error})", "a regular expression") from None
    if "subject" not in compiled.groupindex:
        raise _bad(where, f"'{pattern}'", "a group (?P<subject>...)")
    for group in compiled.groupindex:
        if group not in PATTERN_GROUPS:
            found = f"group '{group}'{suggest(group, PATTERN_GROUPS)}"
            raise _bad(where, found, f"only the groups {', '.join(PATTERN_GROUPS)}")
    return compiled


def _load(path: Path, *, where: str) -> CorpusDefinition:
    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError:
        raise MissingInputError(
            where, found="no such file", expected="a corpus definition", do="Check the path."
        ) from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _bad(f"{where}{line}", str(error.problem or error.context), "YAML") from None
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise _bad(where, f"{type(error).__name__}: {_first_line(error)}", "YAML") from None
    if not isinstance(loaded, DictConfig):
        raise _bad(where, "no mapping", "keys and values")
    _check_keys(loaded, where=where)
    definition = _typed(loaded, where=where)
    _check_values(definition, stem=path.stem, where=where)
    return definition


def _check_keys(loaded: DictConfig, *, where: str) -> None:
    known = [item.name for item in fields(CorpusDefinition)]
    for key in map(str, loaded):
        if key not in known:
            found = f"unknown key '{key}'{suggest(key, known)}"
            raise _bad(where, found, f"one of {', '.join(known)}")


def _typed(loaded: DictConfig, *, where: str) -> CorpusDefinition:
    try:
        merged: Any = OmegaConf.merge(OmegaConf.structured(CorpusDefinition), loaded)
        missing = sorted(str(key) for key in OmegaConf.missing_keys(merged))
        if missing:
            raise _bad(where, f"no {', '.join(missing)}", "these keys")
        definition = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        found = f"{error.full_key or 'a key'}: {_first_line(error)}"
        raise _bad(where, found, "a value of the key's type") from None
    assert isinstance(definition, CorpusDefinition), "merged onto that dataclass"
    return definition


def _check_values(definition: CorpusDefinition, *, stem: str, where: str) -> None:
    checks = [
        ("layout", definition.layout, LAYOUTS),
        ("modality", definition.modality, MODALITIES),
    ]
    for key, value, choices in checks:
        if value not in choices:
            found = f"{key} '{value}'{suggest(value, choices)}"
            raise _bad(where, found, f"one of {', '.join(choices)}")
    if definition.name != stem or not _NAME.fullmatch(definition.name):
        raise _bad(
            where,
            f"name '{definition.name}'",
            f"the file's name, '{stem}', of lower case letters, digits and '_'",
        )
    for key in ("annotation_labels", "linked"):
        # OmegaConf lets a mapping into a list of texts.
        if not all(isinstance(item, str) for item in getattr(definition, key)):
            raise _bad(where, f"{key} with an item that is no text", "a list of texts")
    for key in ("subject_pattern", "annotations_pattern"):
        pattern = getattr(definition, key)
        if pattern is not None:
            compile_pattern(pattern, where=f"{where}, {key}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _bad(where: str, found: str, expected: str) -> InputError:
    return InputError(where, found=found, expected=expected, do="Mend the definition.")
