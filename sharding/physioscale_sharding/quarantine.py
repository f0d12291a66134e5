"""Files that were not converted, and why: the rows of `quarantine.jsonl`.

In:  an exception and the file it concerns.
Out: a row {path, stage, reason, error}; no time, no absolute path, no text of an unforeseen
     exception (it may quote a patient's data).

`reason` is the error's finding without its particulars ("truncated: N whole data records"), so that
equal faults count together.
"""

import json
import re
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

from physioscale.errors import InputError
from physioscale_sharding.identity import keyed_hash

_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"")
_NUMBER = re.compile(r"(?<![A-Za-z])[+-]?\d[\d.,]*(?:e[+-]?\d+)?")
_PACKAGES = ("physioscale_sharding", "physioscale")
_EXAMPLE_LENGTH = 160


@dataclass(frozen=True)
class Quarantined:
    """A file that was left out."""

    path: str
    """Relative to the corpus, with "/"; its hash where the shard set hashes names."""
    stage: str
    """find, header, channels or signal: how far it came."""
    reason: str
    error: str


def quarantined(path: str, *, stage: str, error: Exception) -> Quarantined:
    """Return the row of a file whose conversion raised `error`."""
    if isinstance(error, InputError):
        return Quarantined(path, stage, _without_particulars(error.found), str(error))
    fault = f"unforeseen {type(error).__name__} in {_place(error)}"
    return Quarantined(path, stage, fault, f"{path}: {fault}")


def rejected(path: str, *, reason: str) -> Quarantined:
    """Return the row of a file that looks like a recording and was not taken."""
    return Quarantined(path, "find", _without_particulars(reason), f"{path}: {reason}")


def without_names(rows: Iterable[Quarantined], *, key: bytes) -> list[Quarantined]:
    """Return the rows with keyed hashes for the paths: names of files may be patients'."""
    hidden = []
    for row in rows:
        path = keyed_hash(row.path, purpose="path", key=key)
        error = row.error.replace(row.path, path).replace(Path(row.path).name, path)
        hidden.append(replace(row, path=path, error=error))
    return hidden


def write_quarantine(rows: Iterable[Quarantined]) -> bytes:
    """Return `quarantine.jsonl`: one JSON object a line, sorted by path."""
    ordered = sorted(rows, key=lambda row: (row.path, row.stage))
    lines = [json.dumps(asdict(row), sort_keys=True, ensure_ascii=False) for row in ordered]
    return "".join(f"{line}\n" for line in lines).encode()


def describe_quarantine(rows: Sequence[Quarantined]) -> list[str]:
    """Return a line for each reason, most frequent first, with its count and one example."""
    counts = Counter(row.reason for row in rows)
    examples = {row.reason: row for row in sorted(rows, key=lambda row: row.path, reverse=True)}
    lines = []
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        example = examples[reason].error
        if len(example) > _EXAMPLE_LENGTH:
            example = f"{example[: _EXAMPLE_LENGTH - 3]}..."
        lines.append(f"{count} x {reason}\n    for example {example}")
    return lines


def _without_particulars(text: str) -> str:
    return _NUMBER.sub("N", _QUOTED.sub("'...'", text))


def _place(error: Exception) -> str:
    """Return "module.py:line" of the innermost frame that is ours, else of the innermost."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if set(PurePath(frame.filename).parts) & set(_PACKAGES)]
    if not frames:
        return "an unknown place"
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
