"""Synthetic signals, files and corpora for tests and the demo; nothing here reads real data."""

from physioscale.testing.corpora import (
    TASKS,
    CorpusTruth,
    EventTruth,
    RecordingTruth,
    write_bids_corpus,
    write_folder_corpus,
)
from physioscale.testing.damage import overwrite, patch_header, truncate
from physioscale.testing.edf import write_edf
from physioscale.testing.edf_bytes import Annotation
from physioscale.testing.signals import (
    TEN_TWENTY_19,
    generate_eeg,
    spread_positions,
    ten_twenty_positions,
)

__all__ = [
    "TASKS",
    "TEN_TWENTY_19",
    "Annotation",
    "CorpusTruth",
    "EventTruth",
    "RecordingTruth",
    "generate_eeg",
    "overwrite",
    "patch_header",
    "spread_positions",
    "ten_twenty_positions",
    "truncate",
    "write_bids_corpus",
    "write_edf",
    "write_folder_corpus",
]
