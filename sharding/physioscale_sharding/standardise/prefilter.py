"""Filters that a recording has already been through, from the prefilter text of its header.

In:  texts like "HP:0.5Hz LP:100Hz N:50Hz" or "HP: DC; LP: 417 Hz".
Out: cut-offs in Hz, None where the text gives none.

"DC" and a high-pass of 0 mean that nothing was cut below; a low-pass or notch of 0 is how some
writers fill the field, so it says nothing.
Source: EDF+ specification, section 2.1.3 (HP, LP, N); RF (rejection filter) is found in corpora.
"""

import re
from dataclasses import dataclass

_PART = re.compile(
    r"\b(?P<kind>HP|LP|N|RF|NOTCH)\s*:\s*(?P<value>DC|\d+(?:[.,]\d+)?)\s*(?P<unit>k?Hz)?",
    flags=re.IGNORECASE,
)


@dataclass(frozen=True)
class Prefilter:
    """Cut-offs in Hz."""

    low_cut_hz: float | None = None
    high_cut_hz: float | None = None
    notch_hz: float | None = None


def parse_prefilter(text: str) -> Prefilter:
    """Return the cut-offs that a prefilter text states; where one is repeated, the first counts."""
    values: dict[str, float] = {}
    for part in _PART.finditer(text):
        kind = part["kind"].upper()
        name = kind if kind in ("HP", "LP") else "N"
        number = 0.0 if part["value"].upper() == "DC" else float(part["value"].replace(",", "."))
        values.setdefault(name, number * (1000 if (part["unit"] or "").lower() == "khz" else 1))
    return Prefilter(
        low_cut_hz=values.get("HP"),
        high_cut_hz=values.get("LP") or None,
        notch_hz=values.get("N") or None,
    )
