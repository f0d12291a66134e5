"""Corpus folders: how they are laid out, and which recordings of whom they hold."""

from physioscale_sharding.corpus.definition import (
    CorpusDefinition,
    list_definitions,
    load_definition,
)
from physioscale_sharding.corpus.find import find_recordings
from physioscale_sharding.corpus.recording import (
    ChannelRow,
    Corpus,
    Label,
    Rejected,
    SourceRecording,
)

__all__ = [
    "ChannelRow",
    "Corpus",
    "CorpusDefinition",
    "Label",
    "Rejected",
    "SourceRecording",
    "find_recordings",
    "list_definitions",
    "load_definition",
]
