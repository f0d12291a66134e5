"""The electrode sites of the 10-05 system: which names exist, and how each is written.

In:  a site in any capitals ("FP1", "fpz", "T3").
Out: the canonical name ("Fp1", "Fpz", "T7") or None.

Source: Oostenveld and Praamstra 2001 (10-05 nomenclature); T3, T4, T5 and T6 are the older names of
T7, T8, P7 and P8 (American EEG Society 1991). A and M are the ear lobes and mastoids.
"""

# Rows with every number from z outwards, and rows that only exist near or away from the midline.
_FULL = ("AF", "F", "P", "PO", "AFp", "AFF", "PPO", "POO")
_MEDIAL = ("FC", "C", "CP", "FFC", "FCC", "CCP", "CPP")
_LATERAL = ("FT", "T", "TP", "FFT", "FTT", "TTP", "TPP")
_SHORT = ("Fp", "O", "I", "OI")
_OLDER_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}

EARS = ("A1", "A2", "M1", "M2")
"""Ear lobes and mastoids: electrodes, and the usual references."""

OTHER_SITES = ("Nz", "T1", "T2", "Sp1", "Sp2", "Pg1", "Pg2", "Cb1", "Cb2")
"""Scalp, sphenoidal and nasopharyngeal electrodes outside the 10-05 grid, so without a position."""


def _grid() -> tuple[str, ...]:
    numbers = {
        **{row: range(1, 11) for row in _FULL},
        **{row: range(1, 7) for row in _MEDIAL},
        **{row: range(7, 11) for row in _LATERAL},
        **{row: range(1, 3) for row in _SHORT},
    }
    whole = [f"{row}{number}" for row, row_numbers in numbers.items() for number in row_numbers]
    midline = [f"{row}z" for row in (*_FULL, *_MEDIAL, *_SHORT)]
    return (*whole, *midline, *(f"{name}h" for name in whole))


GRID = _grid()
"""Every name of the 10-05 grid."""

_CANONICAL = {
    **{name.casefold(): name for name in (*GRID, *EARS, *OTHER_SITES)},
    **{old.casefold(): new for old, new in _OLDER_NAMES.items()},
}


def canonical_site(text: str) -> str | None:
    """Return the canonical name of an electrode site, or None where there is no such site."""
    return _CANONICAL.get(text.casefold())
