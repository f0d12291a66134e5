"""Names in a shard set: subjects, recordings and keys, without anyone's identity.

In:  what the corpus calls a subject and a file, and whether it publishes those names.
Out: `Identity`: subject, recording id, source; all deterministic.

Public names are kept. Others become a keyed hash (HMAC-SHA256): without the key nobody can test a
guessed name. The default key is no secret, since the same input has to give the same bytes: it
hides names from a reader, not from someone who holds a list of them. A key file closes that gap.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from physioscale.errors import InputError, MissingInputError
from physioscale_sharding.corpus import SourceRecording

DEFAULT_KEY = b"physioscale"

_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")
_FEWEST_KEY_BYTES = 16
_SUBJECT_HEX, _RECORDING_HEX, _ENTITY_HEX = 12, 10, 8
# A sample key has at most 80 characters, and "_seg-00012" follows the recording id.
_LONGEST_RECORDING = 70
# So many digits in a session or run may be a date.
_DIGITS_OF_A_DATE = 6


@dataclass(frozen=True)
class Identity:
    """How a recording is called in the shard set."""

    subject: str
    recording: str
    source: str
    """Relative path, or its keyed hash."""
    session: str | None
    task: str | None
    run: str | None


def read_key(path: Path) -> bytes:
    """Return the secret key in a file, white space at its ends left out.

    Raises:
        MissingInputError: no such file.
        InputError: shorter than 16 bytes.
    """
    if not path.is_file():
        raise MissingInputError(
            str(path), found="no such file", expected="a file with a secret key", do="Make one."
        )
    key = path.read_bytes().strip()
    if len(key) < _FEWEST_KEY_BYTES:
        raise InputError(
            str(path),
            found=f"a key of {len(key)} bytes",
            expected=f"{_FEWEST_KEY_BYTES} or more",
            do="Make one with `openssl rand -hex 32`.",
        )
    return key


def are_public(recordings: Iterable[SourceRecording], *, subject_ids: str) -> bool:
    """Return whether names stay as they are: by the profile, or for "auto" by the corpus."""
    if subject_ids == "auto":
        return all(recording.subject_is_public for recording in recordings)
    return subject_ids == "public"


def identify(recording: SourceRecording, *, public: bool, key: bytes) -> Identity:
    """Return the names of a recording.

    Args:
        recording: what the corpus says.
        public: whether subject and path may be named.
        key: secret of the keyed hashes.
    """
    if public:
        subject, source = recording.subject, recording.path
        session, run = recording.session, recording.run
    else:
        subject = f"sub-{keyed_hash(recording.subject, purpose='subject', key=key)[:_SUBJECT_HEX]}"
        source = keyed_hash(recording.path, purpose="path", key=key)
        session = _hidden_date(recording.session, key)
        run = _hidden_date(recording.run, key)
    digits = keyed_hash(recording.path, purpose="recording", key=key)[:_RECORDING_HEX]
    label = _entity(subject.removeprefix("sub-"))
    entities = [("ses", session), ("task", recording.task), ("run", run)]
    middle = "".join(f"_{name}-{_entity(value)}" for name, value in entities if value)
    return Identity(
        subject=subject,
        recording=_fitting(label, middle, digits, key=key),
        source=source,
        session=session,
        task=recording.task,
        run=run,
    )


def keyed_hash(text: str, *, purpose: str, key: bytes) -> str:
    """Return 64 hexadecimal digits; equal texts of different purposes share nothing."""
    return hmac.new(key, f"{purpose}/{text}".encode(), hashlib.sha256).hexdigest()


def segment_key(recording: str, number: int) -> str:
    """Return the key of a recording's segment."""
    return f"{recording}_seg-{number:05d}"


def _fitting(label: str, middle: str, digits: str, *, key: bytes) -> str:
    """Return the recording id; what is too long is shortened, its hash keeps it unique."""
    short = keyed_hash(label, purpose="subject", key=key)[:_SUBJECT_HEX]
    choices = [(label or short, middle), (short, middle), (short, "")]
    names = [f"sub-{subject}{rest}_rec-{digits}" for subject, rest in choices]
    return next(name for name in names if len(name) <= _LONGEST_RECORDING)


def _entity(value: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", value)


def _hidden_date(value: str | None, key: bytes) -> str | None:
    if value is None or sum(character.isdigit() for character in value) < _DIGITS_OF_A_DATE:
        return value
    return keyed_hash(value, purpose="entity", key=key)[:_ENTITY_HEX]
