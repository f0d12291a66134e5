"""Finding the recordings of a corpus folder, whatever its layout."""

import dataclasses
from pathlib import Path

from physioscale.errors import InputError
from physioscale_sharding.corpus.bids import find_in_bids
from physioscale_sharding.corpus.definition import CorpusDefinition
from physioscale_sharding.corpus.folder import find_in_folder
from physioscale_sharding.corpus.formats import is_reportable
from physioscale_sharding.corpus.recording import Corpus, Rejected


def find_recordings(
    root: Path, *, definition: CorpusDefinition, subject_pattern: str | None = None
) -> Corpus:
    """Return the recordings of the corpus in folder `root`, and the files that are not taken.

    No recording is opened (only the annotation files of Sleep-EDF and its like are): whether a file
    can be read is found out when it is converted.

    Args:
        root: the corpus folder.
        definition: how it is laid out; see `load_definition`.
        subject_pattern: folder layout: regular expression with the named groups subject (required),
            session, run and task; used instead of the definition's.

    Raises:
        MissingInputError: there is no such folder.
        InputError: no recording in it, no way to tell the subjects, a damaged table of labels.
    """
    if definition.layout == "bids":
        if subject_pattern is not None:
            raise InputError(
                "subject pattern",
                found=f"'{subject_pattern}' for a BIDS tree",
                expected="none, since BIDS names carry the subject",
                do="Leave it out, or use the definition 'folder'.",
            )
        tree, corpus = find_in_bids(root, definition=definition)
    else:
        tree, corpus = find_in_folder(root, definition=definition, subject_pattern=subject_pattern)
    refused = [
        Rejected(path=path, reason=reason)
        for path, reason in tree.refused.items()
        if is_reportable(path, reason)
    ]
    rejected = sorted((*corpus.rejected, *refused), key=lambda item: item.path)
    if not corpus.recordings and not rejected:
        raise InputError(
            str(root),
            found=f"no EDF or BDF file among its {len(tree.sizes_bytes)} files",
            expected="a folder with recordings that end in .edf or .bdf",
            do="Check the path, and that the data were downloaded and unpacked.",
        )
    return dataclasses.replace(
        corpus,
        recordings=tuple(sorted(corpus.recordings, key=lambda item: item.path)),
        rejected=tuple(rejected),
    )
