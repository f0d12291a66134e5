"""A profile: every decision of a conversion, as strict YAML on a typed dataclass.

The profiles that come with the package are the files of `profiles/`; a path of a user's own YAML
file is taken in the same place. A file states only what differs from the defaults below, which
are those of `eeg-wide`.
"""

import dataclasses
import hashlib
import json
import keyword
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physioscale.config.problems import raise_together
from physioscale.config.settings import Setting, read_yaml_settings
from physioscale.config.strict import load_strict
from physioscale.contract import UNITS_OF_TYPE
from physioscale.errors import InputError, MissingInputError, suggest
from physioscale.signal.quality import QualityLimits, limit_problems

PROFILES_FOLDER = Path(__file__).parent / "profiles"
DEFAULT_PROFILE = "eeg-wide"

JUDGED_TYPE = "eeg"
"""Type of the channels whose quality is judged: the figures and limits are made for it."""

MIN_SEGMENT_S = 1.0
"""The contract's shortest segment; a shorter rest of a run is left out and noted."""

_SUFFIXES = (".yaml", ".yml")
_BANDS = "statistics_bands"
_BAND_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CODINGS = ("quantised", "native", "float32")
_SUBJECT_IDS = ("auto", "public", "hashed")
_SPLIT_RULES = ("ranked", "threshold")
_QUALITY_ACTIONS = ("mark", "drop_segments")
_LARGEST_LSB_SHARE = 0.01


@dataclass
class BandConfig:
    """A frequency band; without corners it is the signal as it is stored."""

    low_hz: float | None = None
    """High-pass corner (Hz); None: none."""
    high_hz: float | None = None
    """Low-pass corner (Hz); None: none."""


@dataclass
class SplitConfig:
    """How subjects are divided; a subject is never in two splits."""

    rule: str = "ranked"
    """ranked: subjects in hash order, the shares are exact, and val and test have a subject each
    where the corpus has three. threshold: each subject's own hash against the shares, so that
    adding subjects moves none, and the shares are met on average only."""
    val: float = 0.1
    """Share of the subjects for validation."""
    test: float = 0.1
    """Share of the subjects for testing; the rest trains."""
    seed: int = 0
    """Another seed gives another split and another order of the recordings in the shards."""


@dataclass
class Profile:
    """What is done to the recordings of a corpus."""

    title: str = ""
    """One line for `physioscale ls`."""
    channel_types: list[str] = field(default_factory=lambda: ["eeg"])
    """Types of the channels that are kept; others are dropped and listed with the reason."""
    sampling_rate_hz: float | None = None
    """Rate that every recording is brought to by an exact ratio (Hz); None: see below."""
    upsample: bool = False
    """Whether recordings below `sampling_rate_hz` are brought up to it; otherwise they go to
    quarantine, because upsampling invents nothing and looks as if it had."""
    max_sampling_rate_hz: float | None = None
    """Recordings above it are decimated by the smallest whole number that brings them to it or
    below (Hz); others keep their rate. Not together with `sampling_rate_hz`."""
    low_cut_hz: float | None = None
    """High-pass corner (Hz, zero-phase, MNE's kernel at the source rate); None: none."""
    high_cut_hz: float | None = None
    """Low-pass corner (Hz); None: only the anti-alias filter of a lower rate."""
    notch_hz: float | None = None
    """Line frequency (Hz) that is removed with all its harmonics; None: nothing is removed."""
    segment_s: float = 60.0
    """Length of a segment (s); the last of each gap-free stretch may be short."""
    coding: str = "quantised"
    """quantised: int16 at `lsb_share`. native: the source's integers as they are (no filter, no
    rate change). float32: no quantisation. A segment that does not fit int16 is float32 in each."""
    lsb_share: float = 0.01
    """Largest least significant bit of quantised values, as a share of the channel's robust
    standard deviation in the recording; at most 0.01. It is smaller where a segment's range
    allows (`quantise`)."""
    statistics_bands: dict[str, BandConfig] = field(default_factory=dict)
    """Bands in which mean and deviation of each channel are kept, for z-scores at load time."""
    quality: QualityLimits = field(default_factory=QualityLimits)
    """When an EEG channel is bad in a segment, and when a segment is unusable; the source is
    judged, before any filter."""
    quality_action: str = "mark"
    """mark: every segment is kept, the figures are in the index. drop_segments: segments that are
    judged unusable are left out and counted in the recording's notes; a recording without any
    other goes to quarantine."""
    subject_ids: str = "auto"
    """public: ids as the corpus names them. hashed: a keyed hash. auto: public where the corpus
    is a BIDS tree or its definition says that its ids are pseudonyms, else hashed."""
    allow_text: bool = False
    """Whether annotations outside the corpus's list of event labels are kept: free text can name
    a patient."""
    accept_truncated: bool = False
    """Whether a file that ends early gives its whole data records; otherwise it is quarantined."""
    shard_mb: float = 256.0
    """Size that shards are packed to (MB, 10^6 bytes)."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """How subjects are divided."""


@dataclass(frozen=True)
class NamedProfile:
    """A profile with the name it is written under, and the file it came from."""

    name: str
    path: Path
    profile: Profile

    def as_dict(self) -> dict[str, Any]:
        """Return what `dataset.json` says of it."""
        return {"name": self.name, **dataclasses.asdict(self.profile)}

    @property
    def sha256(self) -> str:
        """Hash of every value."""
        text = json.dumps(self.as_dict(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def list_profiles() -> dict[str, Path]:
    """Return the profiles that come with the package, by name."""
    return {path.stem: path for path in sorted(PROFILES_FOLDER.glob("*.yaml"))}


def load_profile(name: str, *, overrides: Sequence[Setting] = ()) -> NamedProfile:
    """Return the profile of that name, or of a user's own YAML file.

    Args:
        name: a name that `list_profiles` gives, or the path of a .yaml file.
        overrides: settings that win over the file's.

    Raises:
        InputError: no such profile, unknown keys, or values that contradict each other (all of
            them are named).
    """
    path = _find(name)
    settings = [*read_yaml_settings(path), *overrides]
    profile = load_strict(Profile, [s for s in settings if s.keys[0] != _BANDS], where=str(path))
    profile.statistics_bands = _bands([s for s in settings if s.keys[0] == _BANDS], path)
    where = f"profile '{path.stem}'"
    problems = [
        InputError(f"{where}: {key}", found=found, expected=expected, do="Correct the value.")
        for holds, key, found, expected in _checks(profile)
        if not holds
    ]
    raise_together([*problems, *limit_problems(profile.quality, where=f"{where}: quality")])
    return NamedProfile(path.stem, path, profile)


def _find(name: str) -> Path:
    known = list_profiles()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in _SUFFIXES or path.is_file():
        return path
    raise MissingInputError(
        f"profile '{name}'",
        found=f"no profile of that name{suggest(name, known)}",
        expected=f"one of {', '.join(known)}, or the path of a .yaml file",
        do="`physioscale ls` prints all profiles.",
    )


def _bands(settings: Sequence[Setting], path: Path) -> dict[str, BandConfig]:
    """Return the bands, whose names are the user's: a dataclass is made with those fields."""
    for setting in settings:
        if len(setting.keys) == 1 and setting.value != {}:
            raise InputError(
                f"{setting.key} ({setting.source})",
                found=repr(setting.value),
                expected="names of bands, each with low_hz and high_hz, or {}",
                do="Write for example `reve: {low_hz: 0.5, high_hz: 99.5}`.",
            )
    names = list(dict.fromkeys(setting.keys[1] for setting in settings if len(setting.keys) > 1))
    for name in names:
        if not _BAND_NAME.fullmatch(name) or keyword.iskeyword(name):
            raise InputError(
                f"{_BANDS}.{name} ({path})",
                found="a name that no file and no field can have",
                expected="a letter, then letters, digits and '_', in lower case",
                do="Choose another name for the band.",
            )
    fields = [(name, BandConfig, field(default_factory=BandConfig)) for name in names]
    bands: Any = dataclasses.make_dataclass("Bands", fields)
    outer: Any = dataclasses.make_dataclass(
        "Outer", [(_BANDS, bands, field(default_factory=bands))]
    )
    loaded = load_strict(outer, settings, where=str(path))
    return {name: getattr(getattr(loaded, _BANDS), name) for name in names}


def _checks(profile: Profile) -> Iterator[tuple[bool, str, str, str]]:
    """Yield (holds, key, found, expected) for what types alone do not say."""
    rate, highest = profile.sampling_rate_hz, profile.max_sampling_rate_hz
    split = profile.split
    unknown = [name for name in profile.channel_types if name not in UNITS_OF_TYPE]
    types = f"a non-empty list of {', '.join(UNITS_OF_TYPE)}"
    untouched = (rate, highest, profile.low_cut_hz, profile.high_cut_hz, profile.notch_hz)
    yield bool(profile.channel_types) and not unknown, "channel_types", f"{unknown}", types
    yield (
        rate is None or highest is None,
        "max_sampling_rate_hz",
        "sampling_rate_hz beside it",
        "one of the two, or neither",
    )
    for key in ("sampling_rate_hz", "max_sampling_rate_hz", "notch_hz", "shard_mb"):
        value = getattr(profile, key)
        yield value is None or value > 0, key, f"{value}", "a value above 0"
    yield (
        profile.coding != "native" or all(value is None for value in untouched),
        "coding",
        "native, with a filter or another rate",
        "native alone: filtered values are no longer the source's integers",
    )
    yield (
        0 < profile.lsb_share <= _LARGEST_LSB_SHARE,
        "lsb_share",
        f"{profile.lsb_share:g}",
        f"above 0, at most {_LARGEST_LSB_SHARE:g}",
    )
    yield (
        profile.segment_s >= MIN_SEGMENT_S,
        "segment_s",
        f"{profile.segment_s:g}",
        f"at least {MIN_SEGMENT_S:g} s",
    )
    yield _one_of("coding", profile.coding, _CODINGS)
    yield _one_of("subject_ids", profile.subject_ids, _SUBJECT_IDS)
    yield _one_of("split.rule", split.rule, _SPLIT_RULES)
    yield _one_of("quality_action", profile.quality_action, _QUALITY_ACTIONS)
    yield (
        profile.quality_action == "mark" or JUDGED_TYPE in profile.channel_types,
        "quality_action",
        f"'{profile.quality_action}' without channels of type {JUDGED_TYPE}",
        f"mark: only {JUDGED_TYPE} channels are judged",
    )
    yield (
        min(split.val, split.test) >= 0 and split.val + split.test <= 1,
        "split",
        f"val {split.val:g} and test {split.test:g}",
        "shares of 0 or more, together at most 1",
    )
    yield _in_order("low_cut_hz, high_cut_hz", profile.low_cut_hz, profile.high_cut_hz)
    for name, band in profile.statistics_bands.items():
        yield _in_order(f"{_BANDS}.{name}", band.low_hz, band.high_hz)


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> tuple[bool, str, str, str]:
    return value in choices, key, f"'{value}'{suggest(value, choices)}", ", ".join(choices)


def _in_order(key: str, low: float | None, high: float | None) -> tuple[bool, str, str, str]:
    holds = (low is None or low > 0) and (high is None or high > (low or 0.0))
    return holds, key, f"low {low} and high {high} Hz", "0 < low < high"
