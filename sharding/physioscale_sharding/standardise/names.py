"""Channel labels of real corpora, and what they surely mean.

In:  the labels of one recording ("EEG FP1-REF", "Fp1.", "EEG Fpz-Cz", "T3", "ECG ECG").
Out: for each a `ChannelName`: canonical name, type, reference, electrodes.

- A second part that names a reference ("REF", "LE", "A2", "M1" ...) is the reference; one that
  names a scalp site makes a bipolar derivation, placed at the midpoint of its two electrodes.
- T3, T4, T5, T6 become T7, T8, P7, P8; the source label is kept beside the name.
- Device labels (BioSemi A1..D32, EGI E1..E256) collide with ear electrodes (A1), central sites (C3)
  and eye electrodes (E1). In a recording that uses them they mean nothing without the cap's name.
- What a label does not say is "unknown", never guessed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from physioscale_sharding.standardise.caps import cap_electrodes
from physioscale_sharding.standardise.label_types import type_of_polygraph_input, type_of_words
from physioscale_sharding.standardise.sites import EARS, canonical_site

_PREFIX = re.compile(
    r"(?P<kind>EEG|ECG|EKG|EOG|EMG|POL|RESP|TEMP|EVENT)(?:\s+|\s*[:_-]\s*)(?P<rest>\S.*)",
    flags=re.IGNORECASE,
)
_TYPE_OF_PREFIX = {
    "ECG": "ecg",
    "EKG": "ecg",
    "EOG": "eog",
    "EMG": "emg",
    "RESP": "resp",
    "TEMP": "temp",
    "EVENT": "stim",
}
_DERIVATION = re.compile(r"(?P<active>[^-:/\s]+)\s*[-:/\s]\s*(?P<other>[^-:/\s]+(?:/2)?)")
_GLUED = re.compile(r"(?P<active>[A-Za-z]+(?:\d|z))(?P<other>[AM][12])")
_REFERENCES = {
    **dict.fromkeys(("REF", "AR", "CAR", "LE", "LER", "CLE", "ORG", "CS2"), ""),
    **dict.fromkeys(("AV", "AVE", "AVG", "AVERAGE"), "AVG"),
    **dict.fromkeys(("A1A2", "A1+A2", "A12", "(A1+A2)/2"), "A1+A2"),
    **dict.fromkeys(("M1M2", "M1+M2", "(M1+M2)/2"), "M1+M2"),
}
_UNPLACED_EEG = re.compile(r"eeg ?\d*|eeg ?\(sec\)|eeg ?sec", flags=re.IGNORECASE)

_BARE_DEVICE = re.compile(r"[A-Z]\d{1,2}")
# Labels that no electrode system but a device's own has.
_BIOSEMI_ONLY = re.compile(r"A(?:[3-9]|[12]\d|3[0-2])|B(?:[1-9]|[12]\d|3[0-2])")
_EGI = re.compile(r"E\d{1,3}")
_EGI_ONLY = re.compile(r"E(?:[3-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-6])")


@dataclass(frozen=True)
class ChannelName:
    """What a label means."""

    source: str
    """The label as written."""
    name: str
    """Canonical name: "Fp1", "Fpz-Cz", "ECG"; the tidied label where none is known."""
    type: str
    """eeg, eog, ecg, emg, resp, ppg, temp, stim, misc or unknown."""
    reference: str | None = None
    """Reference that the label names ("REF", "A2", "A1+A2", "AVG"), if it does."""
    electrodes: tuple[str, ...] = ()
    """One site, or two for a bipolar derivation (active, other); none where the label has none."""
    remark: str = ""
    """Why the label is unknown."""


def standard_names(labels: Sequence[str], *, cap: str | None = None) -> tuple[ChannelName, ...]:
    """Return what each label of one recording means.

    Args:
        labels: all labels of the recording, in file order: they decide together whether "A1" is an
            ear or a BioSemi output.
        cap: name of the cap that gives device labels their electrodes ("biosemi64", "biosemi128",
            "GSN-HydroCel-128"; any montage that mne knows); None where it is not known.

    Raises:
        InputError: an unknown cap.
    """
    of_cap = cap_electrodes(cap) if cap else {}
    bare = [label.strip() for label in labels]
    biosemi = any(_BIOSEMI_ONLY.fullmatch(label) for label in bare)
    egi = any(_EGI_ONLY.fullmatch(label) for label in bare)
    names = []
    for label, text in zip(labels, bare, strict=True):
        if text.casefold() in of_cap:
            names.append(_of_cap(label, of_cap[text.casefold()]))
        elif (biosemi and _BARE_DEVICE.fullmatch(text)) or (egi and _EGI.fullmatch(text)):
            names.append(_unknown(label, text, "a device's own label; name the cap"))
        else:
            names.append(standard_name(label))
    return tuple(names)


def standard_name(label: str) -> ChannelName:
    """Return what one label means by itself; see `standard_names` for a whole recording."""
    text = " ".join(label.split())
    undotted = text.rstrip(".").strip()
    # "Fp1." is padding; the dots of "H.R." are its own.
    text = text if "." in undotted else undotted
    prefix = _PREFIX.fullmatch(text)
    kind = prefix["kind"].upper() if prefix else ""
    rest = prefix["rest"] if prefix else text
    if kind == "POL":
        return _polygraph(label, rest)
    if kind in _TYPE_OF_PREFIX and _reference(rest) is None:
        return _worded(label, text, rest=rest, kind=_TYPE_OF_PREFIX[kind])
    return (
        _electrode(label, rest)
        or _words(label, text, rest)
        or _unknown(label, text, "no electrode site or channel type in it" if text else "no label")
    )


def _electrode(label: str, text: str) -> ChannelName | None:
    """Return the meaning of a site, a site with a reference or a pair of sites, or None."""
    site = canonical_site(text)
    if site:
        return ChannelName(label, site, "eeg", electrodes=(site,))
    parts = _DERIVATION.fullmatch(text) or _GLUED.fullmatch(text)
    if parts is None:
        return None
    active, other = canonical_site(parts["active"]), canonical_site(parts["other"])
    if active is None:
        return None
    if other in EARS and active not in EARS:
        return ChannelName(label, active, "eeg", reference=other, electrodes=(active,))
    if other == active:
        return None
    if other is not None:
        return ChannelName(label, f"{active}-{other}", "eeg", electrodes=(active, other))
    reference = _reference(parts["other"])
    if reference is None:
        return None
    return ChannelName(label, active, "eeg", reference=reference, electrodes=(active,))


def _reference(text: str) -> str | None:
    word = text.upper()
    if word not in _REFERENCES:
        return canonical_site(text) if canonical_site(text) in EARS else None
    return _REFERENCES[word] or word


def _words(label: str, text: str, rest: str) -> ChannelName | None:
    """Return the meaning of a label whose words name a type, with or without a reference."""
    if _UNPLACED_EEG.fullmatch(text):
        return ChannelName(label, text, "eeg")
    for words in dict.fromkeys((text, rest)):
        named, reference = _without_reference(words)
        kind = type_of_words(named)
        if kind:
            return ChannelName(label, named, kind, reference=reference)
    parts = _last_part(rest)
    # Both ends of a pair have to name the same thing: "LOC-ROC", "Chin1-Chin2".
    kinds = {type_of_words(part) for part in parts} if parts else {None}
    kind = kinds.pop() if len(kinds) == 1 else None
    return ChannelName(label, rest, kind) if kind else None


def _without_reference(text: str) -> tuple[str, str | None]:
    """Return the words of a label and the reference behind its last hyphen, if it names one."""
    parts = _last_part(text)
    reference = _reference(parts[1]) if parts else None
    return (parts[0], reference) if parts and reference else (text, None)


def _last_part(text: str) -> tuple[str, str] | None:
    words, marker, other = text.rpartition("-")
    return (words.strip(), other.strip()) if marker and words.strip() and other.strip() else None


def _worded(label: str, text: str, *, rest: str, kind: str) -> ChannelName:
    """Return the meaning of a label whose prefix states the type ("EOG horizontal")."""
    words, reference = _without_reference(rest)
    prefix = text[: len(text) - len(rest)].rstrip(" :_-")
    doubled = words.casefold() in (prefix.casefold(), kind, "ekg" if kind == "ecg" else kind)
    return ChannelName(label, words if doubled else f"{prefix} {words}", kind, reference=reference)


def _polygraph(label: str, rest: str) -> ChannelName:
    kind = type_of_polygraph_input(rest)
    if kind is None:
        return _unknown(label, rest, "an input of a polygraph, or an intracranial contact")
    return ChannelName(label, rest, kind)


def _of_cap(label: str, electrode: str) -> ChannelName:
    return ChannelName(label, electrode, "eeg", electrodes=(electrode,))


def _unknown(label: str, text: str, remark: str) -> ChannelName:
    return ChannelName(label, text, "unknown", remark=remark)
