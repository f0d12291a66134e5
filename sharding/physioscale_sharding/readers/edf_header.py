"""The header of an EDF, EDF+, BDF or BDF+ file, as facts without the patient's fields.

In:  the first 256 * (signals + 1) bytes of a file.
Out: `EdfHeader`: what the fields say, checked, with a note for each field that was read in another
     way than the specification writes it.

Bytes 8 to 183 (patient, recording, start date and time) are never decoded. A signal whose scale is
impossible is set aside with a reason and its neighbours stay usable; a header whose layout is
impossible is refused. Numbers are exact decimals, so that 310 samples in 0.31 s are 1000 Hz.

Source: the EDF (1992), EDF+ (2003) and BDF specifications; field names are theirs.
"""

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from physioscale.errors import InputError

FIXED_BYTES = 256
SIGNAL_BYTES = 256
ANNOTATION_LABELS = ("EDF Annotations", "BDF Annotations")

# Widths of the fields of one signal, in file order; the values of all signals stand together.
_SIGNAL_FIELDS = {
    "label": 16,
    "transducer": 80,
    "physical_dimension": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "prefilter": 80,
    "samples_per_record": 8,
    "reserved": 32,
}
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")
_NUMBER_LIKE = re.compile(r"[-+.,0-9eE ]*")
# "1e999999" fits a field of 8 characters and would overflow every later step.
_LARGEST_EXPONENT = 30
# Files that stand for a recording that was not downloaded.
_POINTERS = (b"/annex/objects", b"../.git/a", b"version https://git-lfs")


@dataclass(frozen=True)
class SignalField:
    """The fields of one signal; `fault` says why its samples cannot be scaled, if they cannot."""

    index: int
    label: str
    transducer: str
    physical_dimension: str
    prefilter: str
    physical: tuple[Fraction, Fraction]
    """Physical minimum and maximum, exactly as written."""
    digital: tuple[int, int]
    samples_per_record: int
    byte_in_record: int
    fault: str = ""

    @property
    def is_annotation(self) -> bool:
        """Whether the signal holds time-stamped annotations instead of samples."""
        return self.label in ANNOTATION_LABELS


@dataclass(frozen=True)
class EdfHeader:
    """The checked content of a header."""

    format: str
    sample_bytes: int
    data_start_byte: int
    record_bytes: int
    num_records: int | None
    """Declared data records; None where the header says -1 (unknown)."""
    record_duration_s: Decimal
    signals: tuple[SignalField, ...]
    notes: tuple[str, ...]

    @property
    def is_discontinuous(self) -> bool:
        """Whether the file declares that its records may leave gaps."""
        return self.format.endswith("+D")


def num_signals(fixed: bytes, *, where: str) -> int:
    """Return the number of signals that the first 256 bytes declare, after checking the format.

    Raises:
        InputError: too short, not EDF or BDF, or no readable number.
    """
    _check_magic(fixed, where=where)
    fields = _Fields(where)
    count = fields.integer(fixed[252:256], "number of signals")
    if count < 1:
        raise _refuse(where, f"{count} signals", "at least one")
    return count


def parse_header(data: bytes, *, where: str) -> EdfHeader:
    """Return the content of a header of 256 * (signals + 1) bytes.

    Raises:
        InputError: not EDF or BDF, cut off, or fields that contradict each other.
    """
    count = num_signals(data[:FIXED_BYTES], where=where)
    total_bytes = FIXED_BYTES + count * SIGNAL_BYTES
    if len(data) < total_bytes:
        raise _refuse(
            where, f"ends inside its header, after {len(data)} bytes", f"{total_bytes} bytes of it"
        )
    fields = _Fields(where)
    sample_bytes = 3 if data[:1] == b"\xff" else 2
    header_bytes = fields.integer(data[184:192], "number of header bytes")
    if header_bytes != total_bytes:
        raise _refuse(
            where,
            f"the header claims {header_bytes} bytes",
            f"{total_bytes} bytes for its {count} signals",
        )
    num_records = fields.integer(data[236:244], "number of data records")
    if num_records == 0 or num_records < -1:
        raise _refuse(where, f"{num_records} data records", "at least one, or -1 for unknown")
    signals = _signals(fields, data[FIXED_BYTES:total_bytes], count=count, width=sample_bytes)
    duration = fields.decimal(data[244:252], "duration of a data record")
    if duration < 0 or (duration == 0 and not all(signal.is_annotation for signal in signals)):
        raise _refuse(
            where,
            f"data records of {duration} s",
            "a duration above 0, or no sampling rate follows",
        )
    return EdfHeader(
        format=_format(data[192:236], sample_bytes=sample_bytes, where=where),
        sample_bytes=sample_bytes,
        data_start_byte=total_bytes,
        record_bytes=sample_bytes * sum(signal.samples_per_record for signal in signals),
        num_records=None if num_records == -1 else num_records,
        record_duration_s=duration,
        signals=signals,
        notes=(*fields.notes(), *_label_notes(signals)),
    )


def _check_magic(fixed: bytes, *, where: str) -> None:
    if not fixed:
        raise _refuse(where, "the file is empty (0 bytes)", "an EDF or BDF recording")
    if fixed.startswith(_POINTERS):
        raise InputError(
            where,
            found="a pointer to the recording instead of its content",
            expected="an EDF or BDF recording",
            do="Download the content (`datalad get` or `git lfs pull`) and run again.",
        )
    version = fixed[:8]
    if version != b"\xffBIOSEMI" and version.rstrip(b" \x00") != b"0":
        raise _refuse(
            where,
            f"begins with {version!r}, so it is not EDF or BDF",
            "'0' and seven spaces (EDF) or byte 255 and 'BIOSEMI' (BDF)",
        )
    if len(fixed) < FIXED_BYTES:
        raise _refuse(where, f"{len(fixed)} bytes", f"a header of at least {FIXED_BYTES} bytes")


def _format(reserved: bytes, *, sample_bytes: int, where: str) -> str:
    name, other = ("BDF", "EDF") if sample_bytes == 3 else ("EDF", "BDF")
    text = reserved.decode("latin-1").strip(" \x00").upper()
    if text.startswith(f"{other}+"):
        raise _refuse(where, f"{name} version bytes, but reserved field '{text[:5]}'", f"'{name}+'")
    if text.startswith(f"{name}+"):
        return f"{name}+D" if text[4:5] == "D" else f"{name}+C"
    return name


def _signals(fields: "_Fields", data: bytes, *, count: int, width: int) -> tuple[SignalField, ...]:
    cells: dict[str, list[bytes]] = {}
    at = 0
    for name, size in _SIGNAL_FIELDS.items():
        cells[name] = [data[at + i * size : at + (i + 1) * size] for i in range(count)]
        at += count * size
    signals = []
    byte = 0
    for index in range(count):
        signal = _signal(
            fields, {name: cells[name][index] for name in cells}, index=index, byte=byte
        )
        signals.append(signal)
        byte += signal.samples_per_record * width
    return tuple(signals)


def _signal(fields: "_Fields", cells: dict[str, bytes], *, index: int, byte: int) -> SignalField:
    label = fields.text(cells["label"], f"label of signal {index}")
    samples = fields.integer(cells["samples_per_record"], f"samples per record of '{label}'")
    if samples < 0:
        raise _refuse(fields.where, f"{samples} samples per record of '{label}'", "0 or more")
    physical, digital, fault = (Fraction(0), Fraction(0)), (0, 0), ""
    try:
        physical = (
            Fraction(fields.decimal(cells["physical_min"], "physical minimum")),
            Fraction(fields.decimal(cells["physical_max"], "physical maximum")),
        )
        digital = (
            fields.integer(cells["digital_min"], "digital minimum"),
            fields.integer(cells["digital_max"], "digital maximum"),
        )
    except InputError as error:
        fault = f"{error.found}; expected {error.expected}"
    return SignalField(
        index=index,
        label=label,
        transducer=fields.text(cells["transducer"], f"transducer of '{label}'"),
        physical_dimension=fields.text(cells["physical_dimension"], f"dimension of '{label}'"),
        prefilter=fields.text(cells["prefilter"], f"prefilter of '{label}'"),
        physical=physical,
        digital=digital,
        samples_per_record=samples,
        byte_in_record=byte,
        fault=fault or _scale_fault(physical, digital, samples),
    )


def _scale_fault(
    physical: tuple[Fraction, Fraction], digital: tuple[int, int], samples: int
) -> str:
    if samples == 0:
        return "it has 0 samples per record; expected at least one"
    if digital[0] >= digital[1]:
        return f"digital range {digital[0]} to {digital[1]}; expected minimum below maximum"
    if physical[0] == physical[1]:
        low = float(physical[0])
        return f"physical minimum and maximum are both {low:g}; expected two different values"
    return ""


def _label_notes(signals: tuple[SignalField, ...]) -> tuple[str, ...]:
    counts = Counter(signal.label for signal in signals if not signal.is_annotation)
    twice = [f"'{label}' ({count})" for label, count in counts.items() if count > 1]
    if not twice:
        return ()
    return (f"duplicate_labels: {len(twice)} labels occur more than once: {', '.join(twice[:5])}",)


class _Fields:
    """Decodes header fields and remembers what had to be read leniently."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._commas: list[str] = []
        self._not_ascii: list[str] = []

    def text(self, cell: bytes, name: str) -> str:
        """Return a text field: UTF-8 where it is, else Latin-1 (both occur for the micro sign)."""
        if not cell.isascii():
            self._not_ascii.append(name)
        try:
            text = cell.decode("utf-8")
        except UnicodeDecodeError:
            text = cell.decode("latin-1")
        return text.strip(" \x00")

    def decimal(self, cell: bytes, name: str) -> Decimal:
        """Return a numeric field exactly."""
        text = cell.decode("latin-1").strip(" \x00")
        if not _NUMBER.fullmatch(text):
            # A shifted header may put the patient's name here: only number-like text is shown.
            shown = f"'{text}'" if _NUMBER_LIKE.fullmatch(text) else f"{len(text)} characters"
            raise _refuse(self.where, f"{name} is {shown}", "a number")
        number = Decimal(text.replace(",", "."))
        if number and abs(number.adjusted()) > _LARGEST_EXPONENT:
            raise _refuse(self.where, f"{name} is '{text}'", "a number of this world")
        if "," in text:
            self._commas.append(name)
        return number

    def integer(self, cell: bytes, name: str) -> int:
        """Return a numeric field that must be whole."""
        number = self.decimal(cell, name)
        if number != number.to_integral_value():
            raise _refuse(self.where, f"{name} is '{number}'", "a whole number")
        return int(number)

    def notes(self) -> tuple[str, ...]:
        """Return a note for each kind of lenient reading."""
        notes = []
        if self._commas:
            notes.append(
                f"decimal_comma: {len(self._commas)} header numbers use a comma, read as the "
                f"decimal point ({self._commas[0]})"
            )
        if self._not_ascii:
            notes.append(
                f"not_ascii: {len(self._not_ascii)} header texts are not ASCII, read as UTF-8 or "
                f"Latin-1 ({self._not_ascii[0]})"
            )
        return tuple(notes)


def _refuse(where: str, found: str, expected: str) -> InputError:
    return InputError(where, found=found, expected=expected, do=_DO)


_DO = "Copy the file again from its source, or leave it out."
