"""Time-stamped annotation lists (TALs) of EDF+ and BDF+, and the record onsets they carry.

In:  the annotation bytes of each data record, in record order.
Out: the onset of each record (exact decimals, seconds) and the annotations, both relative to the
     first record's onset, which is the recording's first sample.

A TAL is `onset [0x15 duration] 0x14 text 0x14 ... 0x00`; the first of a record has an empty first
text and gives the record's onset. Texts are UTF-8. `text@@label` is about one channel.

Source: EDF+ specification, section 2.2.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from physioscale_sharding.readers.interface import SourceAnnotation

_TIMES = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?")
_ONSET_AS_TEXT = re.compile(r"[+-]\d+(\.\d*)?")


@dataclass(frozen=True)
class RecordTimes:
    """What the annotation signals of a file say."""

    onsets_s: tuple[Decimal | None, ...]
    """Onset of each data record from the file's start time; None where a record gives none."""
    annotations: tuple[SourceAnnotation, ...]
    notes: tuple[str, ...]


def parse_records(records: Iterable[Sequence[bytes]], *, labels: frozenset[str]) -> RecordTimes:
    """Parse the annotation bytes of all records.

    Args:
        records: for each data record the bytes of its annotation signals, in file order.
        labels: the channel labels that `text@@label` may name.
    """
    onsets: list[Decimal | None] = []
    found: list[tuple[Decimal, Decimal, bytes]] = []
    num_damaged = 0
    for signals in records:
        onset: Decimal | None = None
        for number, data in enumerate(signals):
            for position, tal in enumerate(part for part in data.split(b"\x00") if part):
                parsed = _parse_tal(tal)
                if parsed is None:
                    num_damaged += 1
                    continue
                time, duration, texts = parsed
                if number == position == 0 and not texts[0]:
                    onset = time
                found += [(time, duration, text) for text in texts if text]
        onsets.append(onset)
    first = next((onset for onset in onsets[:1] if onset is not None), Decimal(0))
    texts_latin = sum(not _is_utf8(text) for _, _, text in found)
    annotations = [_annotation(*item, first=first, labels=labels) for item in found]
    annotations.sort(key=lambda annotation: annotation.onset_s)
    return RecordTimes(
        onsets_s=tuple(onsets),
        annotations=tuple(annotations),
        notes=_notes(annotations, num_damaged=num_damaged, num_latin=texts_latin),
    )


def _parse_tal(tal: bytes) -> tuple[Decimal, Decimal, list[bytes]] | None:
    head, *texts = tal.split(b"\x14")
    times = _TIMES.fullmatch(head)
    # Every text is closed by 0x14, so the last part is empty unless the TAL was cut.
    if times is None or len(texts) < 2 or texts[-1]:
        return None
    duration = Decimal((times[2] or b"0").decode())
    return Decimal(times[1].decode()), duration, texts[:-1]


def _annotation(
    onset: Decimal, duration: Decimal, data: bytes, *, first: Decimal, labels: frozenset[str]
) -> SourceAnnotation:
    text = data.decode("utf-8" if _is_utf8(data) else "latin-1")
    words, marker, label = text.rpartition("@@")
    about = label if marker and label in labels else None
    return SourceAnnotation(
        onset_s=float(onset - first),
        duration_s=float(duration),
        text=words if about is not None else text,
        channel=about,
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _notes(
    annotations: Sequence[SourceAnnotation], *, num_damaged: int, num_latin: int
) -> tuple[str, ...]:
    notes = []
    if num_damaged:
        notes.append(f"damaged_annotations: {num_damaged} annotation lists could not be parsed")
    if num_latin:
        notes.append(f"latin_annotations: {num_latin} annotation texts are not UTF-8")
    onsets = sum(_ONSET_AS_TEXT.fullmatch(item.text) is not None for item in annotations)
    if onsets:
        notes.append(
            f"onset_as_text: {onsets} annotation texts are bare onsets, so the writer may have "
            "left separators out; they are kept as written"
        )
    return tuple(notes)
