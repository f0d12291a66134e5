"""Electrode caps: what a device's own labels stand for, and where named electrodes lie.

In:  the name of a montage that mne knows ("colin27_1005", "biosemi64", "GSN-HydroCel-128").
Out: positions in metres in that montage's own frame, or the electrode behind each device label.

BioSemi amplifiers label their outputs A1..A32, B1..B32 ... whatever the cap. Caps of 16, 32 and 64
electrodes sit on 10-05 sites, in the order of mne's montage. Larger caps and EGI nets have labels
of their own, which become "<cap>:<label>", so that none is taken for an ear or a central site.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from physioscale.errors import InputError, suggest
from physioscale_sharding.standardise.sites import canonical_site

_DEVICE_LABEL = re.compile(r"[A-H]\d{1,2}|E\d{1,3}")
_BIOSEMI_PER_CONNECTOR = 32

Position = tuple[float, float, float]


@lru_cache(maxsize=8)
def montage_positions(montage: str) -> Mapping[str, Position]:
    """Return (x, y, z) in metres by electrode name, in the montage's own frame.

    Raises:
        InputError: mne knows no montage of that name.
    """
    # Imported here: mne takes a second to load, and only conversions need it.
    import mne

    known = mne.channels.get_builtin_montages()
    if montage not in known:
        raise InputError(
            f"montage '{montage}'",
            found=f"a name that mne {mne.__version__} does not know{suggest(montage, known)}",
            expected="one of mne's built-in montages",
            do="Choose one of `mne.channels.get_builtin_montages()`.",
        )
    positions = mne.channels.make_standard_montage(montage).get_positions()["ch_pos"]
    return MappingProxyType(
        {name: (float(xyz[0]), float(xyz[1]), float(xyz[2])) for name, xyz in positions.items()}
    )


def cap_electrodes(cap: str) -> dict[str, str]:
    """Return the electrode behind each device label, by the label in lower case.

    Raises:
        InputError: mne knows no montage of that name.
    """
    names = list(montage_positions(cap))
    electrodes = {name.casefold(): _electrode(cap, name) for name in names}
    if cap.startswith("biosemi") and all(canonical_site(name) for name in names):
        for number, name in enumerate(names):
            connector, output = divmod(number, _BIOSEMI_PER_CONNECTOR)
            electrodes[f"{'ab'[connector]}{output + 1}"] = _electrode(cap, name)
    return electrodes


def _electrode(cap: str, name: str) -> str:
    site = canonical_site(name)
    if site is None or (_is_device_cap(cap) and _DEVICE_LABEL.fullmatch(name)):
        return f"{cap}:{name}"
    return site


def _is_device_cap(cap: str) -> bool:
    """Whether the cap's labels are a device's own, so that "A1" or "C3" is no 10-05 site."""
    names = montage_positions(cap)
    return "A3" in names or "E3" in names
