"""What a recording's row in `recordings.parquet` says of its source and of its stored signal.

In:  the recording, `Measured`, and what was stored. Out: parts of the row.
"""

from dataclasses import asdict
from typing import Any

from physioscale.contract import labels_to_json
from physioscale_sharding.measure import Measured
from physioscale_sharding.prepare import Prepared


def quality_column(prepared: Prepared, measured: Measured) -> list[dict[str, Any]]:
    """Return the column `quality`: named values per channel."""
    marked_bad = [float(bad) for bad in prepared.selection.marked_bad]
    return [
        {"name": "flat", "values": measured.flat.astype(float).tolist()},
        {"name": "marked_bad", "values": marked_bad},
        *measured.quality,
    ]


def source_facts(prepared: Prepared, content_sha256: str) -> dict[str, Any]:
    """Return the columns on the source: names, channels, hash, labels."""
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


def signal_facts(
    prepared: Prepared, *, num_times: int, num_segments: int, num_runs: int
) -> dict[str, Any]:
    """Return the columns on the stored signal; the counts are of what was stored."""
    plan = prepared.conditioning
    return {
        "duration_s": num_times / plan.rate_hz,
        "num_segments": num_segments,
        "num_runs": num_runs,
        "sampling_rate_hz": plan.rate_hz,
        "low_cut_hz": plan.low_cut_hz,
        "high_cut_hz": plan.high_cut_hz,
        "notch_hz": list(plan.notch_hz),
    }
