"""Units as recordings spell them, and the factor to SI.

In:  the text of a physical dimension ("uV", "mv", "DegC", "").
Out: a `Unit`: the SI symbol that values have after multiplication by `factor`.

Spaces are ignored. "UV" is read as microvolt, because no SI prefix is written "U"; "MV" is megavolt
by the rules and millivolt in nobody's certainty, so it is unknown. So is an empty text: a missing
unit is never taken for microvolt. Temperatures stay in degrees Celsius: the way to SI is an offset,
not a factor.
"""

import re
from dataclasses import dataclass

# Both code points of the Greek letter: micro sign (U+00B5) and small mu (U+03BC).
_MICRO = "\u00b5\u03bc"
_VOLT = re.compile(
    rf"(?P<prefix>[munU{_MICRO}]|milli|micro|nano)?(?:[Vv](?:olts?)?|VOLTS?)", flags=re.ASCII
)
_FACTORS: dict[str | None, float] = {
    None: 1.0,
    "m": 1e-3,
    "milli": 1e-3,
    "u": 1e-6,
    "U": 1e-6,
    "micro": 1e-6,
    **dict.fromkeys(_MICRO, 1e-6),
    "n": 1e-9,
    "nano": 1e-9,
}
_OTHER = {
    "degc": "degC",
    "\u00b0c": "degC",
    "celsius": "degC",
    "boolean": "boolean",
    "bool": "boolean",
    "%": "%",
    "bpm": "bpm",
    "ohm": "ohm",
    "hz": "Hz",
    "s": "s",
}


@dataclass(frozen=True)
class Unit:
    """What a unit text means."""

    source: str
    """The text as written."""
    symbol: str
    """"V" for voltages; "degC", "boolean", "%", ...; "unknown" where the text says nothing sure."""
    factor: float
    """SI value = physical value * factor; 1 for everything but voltages."""

    @property
    def is_voltage(self) -> bool:
        """Whether values become volts."""
        return self.symbol == "V"


def parse_unit(text: str) -> Unit:
    """Return what `text` means; symbol "unknown" and factor 1 where that is not certain."""
    compact = "".join(text.split())
    match = _VOLT.fullmatch(compact)
    if match is not None:
        return Unit(source=text, symbol="V", factor=_FACTORS[match["prefix"]])
    return Unit(source=text, symbol=_OTHER.get(compact.lower(), "unknown"), factor=1.0)
