"""One recording, from its file to the segments and the row that go into the shard set.

In:  a `Prepared` recording.
Out: `Converted`: its row of `recordings.parquet` and its segments, ready to be written.

The steps, each of which takes what the one before gave: runs are read and conditioned
(`_read_runs`); the channels get their scale (`_coder`); segments are cut, coded and described
(`_segments`); facts are gathered. A run is the unit of all of them: a filter, a rate change and a
segment never cross a gap. Whole runs are held in memory, as float64 at the stored rate.

Letters: C channels, T samples.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.contract import SegmentMeta, labels_to_json
from physioscale.errors import InputError
from physioscale_sharding.conditioning import condition
from physioscale_sharding.events import Event, gather_events, inside
from physioscale_sharding.identity import segment_key
from physioscale_sharding.pooled import run_statistics
from physioscale_sharding.prepare import Conversion, Prepared
from physioscale_sharding.profile import Profile
from physioscale_sharding.quantise import Coded, code_native, code_values, recording_scale
from physioscale_sharding.readers import reader_for
from physioscale_sharding.selection import Selection

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int16] | NDArray[np.int32]


@dataclass(frozen=True)
class Segment:
    """A segment as it goes into a shard."""

    meta: SegmentMeta
    stored: NDArray[np.int16] | NDArray[np.float32]
    quality: dict[str, float]


@dataclass(frozen=True)
class Converted:
    """What a recording became."""

    row: dict[str, Any]
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class _Signal:
    """A run in memory."""

    digital: IntArray
    """(C, T) as the source holds it."""
    values: FloatArray
    """(C, T') in the stored unit, at the stored rate."""


def convert(prepared: Prepared, *, split: str, conversion: Conversion) -> Converted:
    """Return the segments and the row of a recording.

    Raises:
        InputError: samples cannot be read, or every channel is flat.
    """
    profile, selection = conversion.profile, prepared.selection
    signals, content_sha256 = _read_runs(prepared)
    flat = _flat_channels([signal.digital for signal in signals])
    if flat.all():
        raise InputError(
            prepared.header.source,
            found=f"all {len(flat)} channels are flat",
            expected="at least one that changes",
            do="Leave the recording out, or look for the fault in its export.",
        )
    events = gather_events(
        prepared.recording,
        prepared.header.annotations,
        definition=conversion.definition,
        allow_text=profile.allow_text,
    )
    coder = _coder(signals, selection, profile)
    segments = tuple(
        _segments(prepared, signals, coder, events.kept, corpus=conversion.corpus, split=split)
    )
    statistics, statistics_notes = run_statistics(
        [signal.values for signal in signals],
        rate_hz=prepared.conditioning.rate_hz,
        bands=profile.statistics_bands,
    )
    notes = [*prepared.notes, *statistics_notes, *_coding_notes(segments)]
    if events.num_withheld:
        notes.append(f"texts_withheld: {events.num_withheld} annotation texts are no known labels")
    row = {
        **_source_facts(prepared, content_sha256),
        **_signal_facts(prepared, segments),
        "corpus": conversion.corpus,
        "split": split,
        "statistics": statistics,
        "quality": [
            {"name": "flat", "values": flat.astype(float).tolist()},
            {"name": "marked_bad", "values": [float(bad) for bad in selection.marked_bad]},
        ],
        "events": [asdict(event) for event in events.kept],
        "notes": notes,
    }
    return Converted(row, segments)


def _read_runs(prepared: Prepared) -> tuple[list[_Signal], str]:
    """Return the kept runs, and the hash of the decoded samples of all of them.

    Channels are hashed alone and their hashes sorted, so that another order of channels or another
    label does not hide that the samples are the same.
    """
    selection, header = prepared.selection, prepared.header
    reader = reader_for(prepared.recording.absolute)
    digests = [hashlib.sha256() for _ in selection.source]
    signals = []
    for run, _ in prepared.runs:
        digital = reader.read_samples(
            header,
            selection.source,
            start=run.start_sample,
            stop=run.start_sample + run.num_samples,
        )
        for digest, samples in zip(digests, digital, strict=True):
            digest.update(samples.astype("<i4").tobytes())
        values = condition(
            digital, gain=selection.gain, offset=selection.offset, plan=prepared.conditioning
        )
        if not np.isfinite(values).all():
            raise InputError(
                header.source,
                found="values that are not finite after scaling",
                expected="finite values",
                do="The header's physical or digital range is damaged: copy the file again.",
            )
        signals.append(_Signal(digital, values))
    joined = "".join(sorted(digest.hexdigest() for digest in digests))
    return signals, hashlib.sha256(joined.encode()).hexdigest()


def _flat_channels(runs: Sequence[IntArray]) -> NDArray[np.bool_]:
    """Return (C,) whether a channel has one value only, in all runs together."""
    low = np.min([run.min(axis=1) for run in runs], axis=0)
    high = np.max([run.max(axis=1) for run in runs], axis=0)
    return np.asarray(low == high)


@dataclass(frozen=True)
class _Coder:
    """How the segments of a recording are coded."""

    native: bool
    gain: FloatArray
    offset: FloatArray
    scale: FloatArray | None

    def code(self, signal: _Signal, start: int, stop: int) -> Coded:
        """Return samples [start, stop) of a run as they are stored."""
        if self.native:
            digital = signal.digital[:, start:stop]
            return code_native(digital, gain=self.gain, offset=self.offset)
        return code_values(signal.values[:, start:stop], scale=self.scale)


def _coder(signals: Sequence[_Signal], selection: Selection, profile: Profile) -> _Coder:
    scale = None
    if profile.coding == "quantised":
        scale = recording_scale(
            [signal.values for signal in signals],
            lsb_share=profile.lsb_share,
            source_gain=np.abs(selection.gain),
        )
    return _Coder(profile.coding == "native", selection.gain, selection.offset, scale)


def _segments(
    prepared: Prepared,
    signals: Sequence[_Signal],
    coder: _Coder,
    events: Sequence[Event],
    *,
    corpus: str,
    split: str,
) -> Iterator[Segment]:
    identity, rate_hz = prepared.identity, prepared.conditioning.rate_hz
    number = begun = 0
    for place, ((run, cut), signal) in enumerate(zip(prepared.runs, signals, strict=True)):
        # A gap shorter than half a stored sample would round into the run before it.
        run_start = max(round(run.start_s * rate_hz), begun)
        for start, stop in cut.bounds:
            coded = coder.code(signal, start, stop)
            begun, ends = run_start + start, run_start + stop
            meta = SegmentMeta(
                key=segment_key(identity.recording, number),
                corpus=corpus,
                subject=identity.subject,
                recording=identity.recording,
                split=split,
                segment=number,
                run=place,
                start_sample=begun,
                num_times=stop - start,
                sampling_rate_hz=rate_hz,
                channels=prepared.selection.channels,
                dtype=coded.dtype,
                scale=coded.scale,
                offset=coded.offset,
                session=identity.session,
                task=identity.task,
                acquisition_run=identity.run,
                reference=prepared.selection.reference,
                position_frame=prepared.selection.position_frame,
                annotations=inside(events, start_s=begun / rate_hz, stop_s=ends / rate_hz),
            )
            yield Segment(meta, coded.stored, _quality(prepared, signal, start, stop))
            number, begun = number + 1, ends


def _quality(prepared: Prepared, signal: _Signal, start: int, stop: int) -> dict[str, float]:
    """Return the figures of a segment; `flat` is the share of channels without any change."""
    plan = prepared.conditioning
    source = signal.digital[:, start * plan.down // plan.up : -(-stop * plan.down // plan.up)]
    flat = source.min(axis=1) == source.max(axis=1)
    return {"flat": float(flat.mean())}


def _source_facts(prepared: Prepared, content_sha256: str) -> dict[str, Any]:
    identity, selection = prepared.identity, prepared.selection
    return {
        "recording": identity.recording,
        "subject": identity.subject,
        "session": identity.session,
        "task": identity.task,
        "acquisition_run": identity.run,
        "source": identity.source,
        "source_format": prepared.header.format,
        "content_sha256": content_sha256,
        "original_sampling_rate_hz": prepared.conditioning.source_rate_hz,
        "original_low_cut_hz": selection.low_cut_hz,
        "original_high_cut_hz": selection.high_cut_hz,
        "channels": [asdict(channel) for channel in selection.channels],
        "reference": selection.reference,
        "position_frame": selection.position_frame,
        "repetition_time_s": None,
        "labels": labels_to_json(prepared.recording.labels),
        "dropped_channels": [
            {"label": label, "reason": reason} for label, reason in selection.dropped
        ],
    }


def _signal_facts(prepared: Prepared, segments: Sequence[Segment]) -> dict[str, Any]:
    plan = prepared.conditioning
    return {
        "duration_s": sum(segment.meta.num_times for segment in segments) / plan.rate_hz,
        "num_segments": len(segments),
        "num_runs": len(prepared.runs),
        "sampling_rate_hz": plan.rate_hz,
        "low_cut_hz": plan.low_cut_hz,
        "high_cut_hz": plan.high_cut_hz,
        "notch_hz": list(plan.notch_hz),
    }


def _coding_notes(segments: Sequence[Segment]) -> Iterator[str]:
    wide = sum(segment.meta.dtype == "float32" for segment in segments)
    if wide:
        yield f"float32_segments: {wide} of {len(segments)} segments are stored as float32"
