"""Everything about a recording but its samples: header, channels, rate, cuts and names.

In:  a recording that the corpus lists, and the `Conversion` it belongs to.
Out: `Prepared`; the scan takes its sizes from it, the conversion goes on with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from physioscale.errors import InputError
from physioscale_sharding.conditioning import Conditioning, conditioning_for
from physioscale_sharding.corpus import CorpusDefinition, SourceRecording
from physioscale_sharding.identity import Identity, identify
from physioscale_sharding.profile import MIN_SEGMENT_S, Profile
from physioscale_sharding.readers import RecordingHeader, Run, reader_for
from physioscale_sharding.segments import Cut, cut_run
from physioscale_sharding.selection import Selection, select_channels


@dataclass(frozen=True)
class Conversion:
    """What all recordings of a conversion share."""

    root: Path
    corpus: str
    definition: CorpusDefinition
    profile: Profile
    public: bool
    """Whether subjects and paths are named as they are."""
    key: bytes
    """Secret of the keyed hashes."""


@dataclass(frozen=True)
class Prepared:
    """A recording of which everything but the samples is known."""

    recording: SourceRecording
    identity: Identity
    header: RecordingHeader
    selection: Selection
    conditioning: Conditioning
    runs: tuple[tuple[Run, Cut], ...]
    """The runs that give at least one segment."""
    notes: tuple[str, ...]


def prepare(recording: SourceRecording, *, conversion: Conversion) -> Prepared:
    """Return what the header and the corpus say of a recording, without reading samples.

    Raises:
        InputError: unreadable, no wanted channel, a rate that the profile refuses, or no run of
            a second or more.
    """
    profile = conversion.profile
    header = reader_for(recording.absolute).read_header(
        recording.absolute, root=conversion.root, accept_truncated=profile.accept_truncated
    )
    selection = select_channels(
        header,
        recording,
        channel_types=profile.channel_types,
        cap=conversion.definition.cap,
    )
    conditioning = conditioning_for(
        selection.stream.sampling_rate_hz, profile=profile, where=header.source
    )
    cuts = [
        cut_run(
            conditioning.num_stored(run.num_samples),
            rate_hz=conditioning.rate_hz,
            segment_s=profile.segment_s,
        )
        for run in selection.stream.runs
    ]
    runs = zip(selection.stream.runs, cuts, strict=True)
    kept = tuple((run, cut) for run, cut in runs if cut.bounds)
    if not kept:
        raise _too_short(header, selection)
    return Prepared(
        recording=recording,
        identity=identify(recording, public=conversion.public, key=conversion.key),
        header=header,
        selection=selection,
        conditioning=conditioning,
        runs=kept,
        notes=(
            *header.notes,
            *_corpus_notes(recording, public=conversion.public),
            *selection.notes,
            *conditioning.notes,
            *_length_notes(selection, conditioning, cuts),
        ),
    )


def _length_notes(selection: Selection, plan: Conditioning, cuts: Sequence[Cut]) -> Iterator[str]:
    rests = [cut.rest for cut in cuts if cut.rest]
    if rests:
        seconds = sum(rests) / plan.rate_hz
        yield (
            f"rests_left_out: {len(rests)} pieces shorter than {MIN_SEGMENT_S:g} s, "
            f"together {seconds:.3f} s"
        )
    short = [run for run in selection.stream.runs if run.num_samples <= plan.margin]
    if short:
        reach_s = plan.margin / plan.source_rate_hz
        yield (
            f"shorter_than_filter: {len(short)} of {len(cuts)} gap-free runs are shorter than half "
            f"the filter, {reach_s:.1f} s: their lowest frequencies are not filtered as stated"
        )


def _corpus_notes(recording: SourceRecording, *, public: bool) -> tuple[str, ...]:
    """Return the corpus's notes; they quote file names, so only their rules where those are hid."""
    if public:
        return recording.notes
    return tuple(f"{note.partition(':')[0]}: (file names withheld)" for note in recording.notes)


def _too_short(header: RecordingHeader, selection: Selection) -> InputError:
    longest = max(run.num_samples for run in selection.stream.runs)
    seconds = longest / selection.stream.sampling_rate_hz
    return InputError(
        header.source,
        found=f"{len(selection.stream.runs)} gap-free runs, the longest of {seconds:.3f} s",
        expected=f"at least {MIN_SEGMENT_S:g} s without a gap",
        do="Leave the recording out.",
    )
