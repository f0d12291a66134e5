"""Names that the writer and every reader of a shard set agree on.

A shard set is a folder of one `kind`: split-pure tar shards, `index.parquet` (a row per segment),
`recordings.parquet` (a row per recording), `dataset.json`, `quarantine.jsonl` and `statistics/`.
The version below is written into `dataset.json` and into every segment; readers accept it and the
version before it.
"""

import re
from typing import Final, Literal, get_args

from physioscale.errors import InputError

SCHEMA_VERSION: Final = 1
READABLE_SCHEMAS: Final = (1,)

Kind = Literal["signal", "roi", "t1", "embedding"]
Split = Literal["train", "val", "test"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
SPLITS: Final[tuple[str, ...]] = get_args(Split)

# The units that values of a channel type may be stored in; the first is what converters write.
UNITS_OF_TYPE: Final[dict[str, tuple[str, ...]]] = {
    "eeg": ("V",),
    "eog": ("V",),
    "emg": ("V",),
    "ecg": ("V", "mV"),
    "ecog": ("V",),
    "seeg": ("V",),
    "dbs": ("V",),
    "mag": ("T",),
    "grad_planar": ("T/m",),
    "grad_axial": ("T", "T/m"),
    "ref_meg": ("T", "T/m"),
    "ppg": ("1",),
    "resp": ("1", "V"),
    "roi": ("1",),
    "voxel": ("1",),
    "feature": ("1",),
    "misc": ("1", "V"),
}

SIGNAL_MEMBER: Final = "signal.npy"
CRC_MEMBER: Final = "crc.npy"
META_MEMBER: Final = "meta.json"
REQUIRED_MEMBERS: Final = (SIGNAL_MEMBER, CRC_MEMBER, META_MEMBER)

DATASET_FILE: Final = "dataset.json"
INDEX_FILE: Final = "index.parquet"
RECORDINGS_FILE: Final = "recordings.parquet"
QUARANTINE_FILE: Final = "quarantine.jsonl"
STATISTICS_FOLDER: Final = "statistics"
REPORT_FILE: Final = "report.html"

# A dot would split a sample's name in webdataset; 80 characters leave room for the member's name
# in a plain tar header (100 characters).
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_MEMBER = re.compile(r"(?=.{3,19}$)[a-z0-9][a-z0-9_]*\.[a-z0-9]+")
_SHARD_NAME = re.compile(r"(train|val|test)-(\d{6})\.tar")


def check_key(key: str, *, where: str) -> None:
    """Refuse a sample key that webdataset would split or a tar header could not hold."""
    if not _KEY.fullmatch(key):
        raise InputError(
            where,
            found=f"sample key {key!r}",
            expected="1 to 80 characters of A-Z, a-z, 0-9, '_' and '-'",
            do="Choose another key.",
        )


def check_member(name: str, *, where: str) -> None:
    """Refuse a member's name that a plain tar header could not hold, or TarWriter would skip."""
    if not _MEMBER.fullmatch(name):
        raise InputError(
            where,
            found=f"member name {name!r}",
            expected="a name and an ending of a-z, 0-9 and '_', at most 19 characters together",
            do="Choose another name, as in labels.json.",
        )


def check_schema(version: object, *, where: str) -> None:
    """Refuse a schema version that this package cannot read."""
    # JSON's true equals 1 in Python, and is no version.
    if type(version) is not int or version not in READABLE_SCHEMAS:
        known = ", ".join(str(known) for known in READABLE_SCHEMAS)
        raise InputError(
            where,
            found=f"shard schema {version!r}",
            expected=f"schema {known}",
            do="Use the physioscale version that wrote it, or convert the corpus again.",
        )


def shard_name(split: str, number: int) -> str:
    """Return the file name of a split's shard: `train-000000.tar`."""
    return f"{split}-{number:06d}.tar"


def split_of_shard(name: str) -> str:
    """Return the split that a shard's file name states."""
    match = _SHARD_NAME.fullmatch(name)
    if match is None:
        raise InputError(
            name,
            found="a shard name of another form",
            expected="train-, val- or test- and six digits, as in train-000000.tar",
            do="Leave the names of shards as the converter wrote them.",
        )
    return match.group(1)
