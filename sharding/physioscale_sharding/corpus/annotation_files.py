"""EDF+ files that hold only annotations, and the recordings they belong to.

In:  the paths of a tree and a definition's `annotations_pattern` (Sleep-EDF's hypnograms).
Out: for a recording the annotations of its file, onset in seconds from the recording's start.

A file belongs to the recording with the same subject, session and run. Its onsets are only taken
when both files name the same start date and time, since they count from there.
"""

from collections.abc import Mapping, Sequence

from physioscale.errors import InputError
from physioscale_sharding.corpus.definition import CorpusDefinition, compile_pattern
from physioscale_sharding.corpus.recording import SourceRecording
from physioscale_sharding.corpus.walk import Tree
from physioscale_sharding.readers import SourceAnnotation, reader_for, same_start

_KEYS = ("subject", "session", "run")

Key = tuple[str | None, ...]


class AnnotationFiles:
    """The annotation files of one tree, by the recording they belong to."""

    def __init__(self, tree: Tree, definition: CorpusDefinition) -> None:
        self._tree = tree
        self._by_key: dict[Key, list[str]] = {}
        if definition.annotations_pattern is None:
            return
        pattern = compile_pattern(
            definition.annotations_pattern, where=f"corpus {definition.name}, annotations_pattern"
        )
        for path in tree.sizes_bytes:
            match = pattern.search(path)
            if match is not None:
                self._by_key.setdefault(_key(match.groupdict()), []).append(path)

    @property
    def paths(self) -> frozenset[str]:
        """Paths of all annotation files."""
        return frozenset(path for paths in self._by_key.values() for path in paths)

    def events(
        self, path: str, parts: Mapping[str, str | None]
    ) -> tuple[tuple[SourceAnnotation, ...] | None, tuple[str, ...]]:
        """Return the annotations for the recording at `path`, or None, and notes on why not.

        Args:
            path: the recording, relative to the tree.
            parts: its subject, session and run.
        """
        candidates = self._by_key.get(_key(parts), [])
        if not candidates:
            return None, ()
        if len(candidates) > 1:
            return None, (f"annotation_file_unused: {len(candidates)} files fit this recording",)
        name = candidates[0]
        file, recording = self._tree.root / name, self._tree.root / path
        try:
            if not same_start(recording, file, root=self._tree.root):
                return None, (f"annotation_file_unused: {name}: it starts at another time",)
            return reader_for(file).read_annotations(file, root=self._tree.root), ()
        except InputError as error:
            return None, (f"annotation_file_unused: {error.where}: {error.found}",)

    def unjoined(self, recordings: Sequence[SourceRecording]) -> tuple[str, ...]:
        """Return a note on annotation files without a recording."""
        known = {(item.subject, item.session, item.run) for item in recordings}
        alone = [paths[0] for key, paths in self._by_key.items() if key not in known]
        if not alone:
            return ()
        return (
            f"annotation_files_alone: {len(alone)} annotation files have no recording "
            f"(first: {alone[0]})",
        )


def _key(parts: Mapping[str, str | None]) -> Key:
    return tuple(parts.get(key) for key in _KEYS)
