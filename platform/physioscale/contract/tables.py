"""The two tables of a shard set: `recordings.parquet` and `index.parquet`.

`index.parquet` has a row per segment, sorted by (shard, signal_offset); all segments of a recording
stand in order. `recordings.parquet` has a row per recording, sorted by `recording`. Both are
written with fixed settings, so that equal rows give equal bytes with one pyarrow version.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from physioscale.contract.publish import publishing
from physioscale.errors import InputError, MissingInputError

_NAMED_FIGURE = pa.struct([("name", pa.string()), ("value", pa.float64())])
_NAMED_FIGURES_PER_CHANNEL = pa.struct([("name", pa.string()), ("values", pa.list_(pa.float32()))])
_MEMBER = pa.struct([("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
_BAND_STATISTICS = pa.struct(
    [
        ("band", pa.string()),
        ("low_hz", pa.float64()),
        ("high_hz", pa.float64()),
        ("mean", pa.list_(pa.float64())),
        ("std", pa.list_(pa.float64())),
    ]
)
_CHANNEL = pa.struct(
    [
        ("name", pa.string()),
        ("type", pa.string()),
        ("unit", pa.string()),
        ("position_m", pa.list_(pa.float64())),
        ("coil_frame", pa.list_(pa.float64())),
        ("source", pa.string()),
    ]
)
_EVENT = pa.struct(
    [("onset_s", pa.float64()), ("duration_s", pa.float64()), ("label", pa.string())]
)
_DROPPED = pa.struct([("label", pa.string()), ("reason", pa.string())])

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("split", pa.string()),
        ("recording", pa.string()),
        ("segment", pa.int32()),
        ("run", pa.int32()),
        ("start_sample", pa.int64()),
        ("start_s", pa.float64()),
        ("num_times", pa.int32()),
        ("num_channels", pa.int32()),
        ("sampling_rate_hz", pa.float64()),
        ("dtype", pa.string()),
        # First byte of the array's data in the shard (behind the npy header), and their number.
        ("signal_offset", pa.int64()),
        ("signal_bytes", pa.int64()),
        ("members", pa.list_(_MEMBER)),
        ("scale", pa.list_(pa.float64())),
        ("offset", pa.list_(pa.float64())),
        ("block_crc32", pa.list_(pa.uint32())),
        ("quality", pa.list_(_NAMED_FIGURE)),
    ]
)

RECORDINGS_SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("corpus", pa.string()),
        ("subject", pa.string()),
        ("session", pa.string()),
        ("task", pa.string()),
        ("acquisition_run", pa.string()),
        ("split", pa.string()),
        # Relative path in the corpus, or its hash where subject ids are not public.
        ("source", pa.string()),
        ("source_format", pa.string()),
        # SHA-256 of the decoded source samples: equal for the same samples under other names.
        ("content_sha256", pa.string()),
        ("duration_s", pa.float64()),
        ("num_segments", pa.int32()),
        ("num_runs", pa.int32()),
        ("sampling_rate_hz", pa.float64()),
        ("original_sampling_rate_hz", pa.float64()),
        # Filters already in the source (as its header or sidecar states), then those applied.
        ("original_low_cut_hz", pa.float64()),
        ("original_high_cut_hz", pa.float64()),
        ("low_cut_hz", pa.float64()),
        ("high_cut_hz", pa.float64()),
        ("notch_hz", pa.list_(pa.float64())),
        ("channels", pa.list_(_CHANNEL)),
        ("reference", pa.string()),
        ("position_frame", pa.string()),
        ("repetition_time_s", pa.float64()),
        ("statistics", pa.list_(_BAND_STATISTICS)),
        ("quality", pa.list_(_NAMED_FIGURES_PER_CHANNEL)),
        # JSON object of scalar labels (participants table, sidecars, demographics that are kept).
        ("labels", pa.string()),
        ("events", pa.list_(_EVENT)),
        ("dropped_channels", pa.list_(_DROPPED)),
        # Facts a person should know: "3 of 120 declared records are missing", ...
        ("notes", pa.list_(pa.string())),
    ]
)


def to_table(rows: Sequence[Mapping[str, Any]], *, schema: pa.Schema) -> pa.Table:
    """Return `rows` as a table of exactly `schema`.

    Raises:
        TypeError: a row has a field too many or too few, or a value of another type.
    """
    names = set(schema.names)
    for row in rows:
        if set(row) != names:
            raise TypeError(f"row fields differ from the schema: {sorted(set(row) ^ names)}")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table atomically, with settings that make equal tables equal bytes."""
    with publishing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=3,
            use_dictionary=True,
            row_group_size=65536,
            version="2.6",
            data_page_version="1.0",
        )


def read_table(path: Path, *, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table (or some of its columns) and check it against `schema`.

    Raises:
        MissingInputError: there is no such file.
        InputError: not Parquet, or columns are missing, unknown or of another type.
    """
    if not path.is_file():
        raise MissingInputError(
            path.name, found="no such file", expected="a table of a shard set", do=_DO
        )
    try:
        found = pq.read_schema(path)
        differing = sorted(
            {field.name for field in schema if field not in found}
            | {field.name for field in found if field not in schema}
        )
        if differing:
            raise InputError(
                path.name,
                found=f"columns that differ: {', '.join(differing)}",
                expected="the columns of this schema version",
                do=_DO,
            )
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            path.name, found=f"an unreadable table ({error})", expected="Parquet", do=_DO
        ) from None


def labels_to_json(labels: Mapping[str, str | float | None]) -> str:
    """Return the canonical JSON text of a recording's labels."""
    return json.dumps(dict(labels), sort_keys=True, ensure_ascii=False, allow_nan=False)


def labels_from_json(text: str) -> dict[str, str | float | None]:
    """Return a recording's labels."""
    labels: dict[str, str | float | None] = json.loads(text)
    return labels


_DO = "Run `physioscale verify` on the folder and convert the corpus again."
