"""The two tables: equal rows give equal bytes, and another table is refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from physioscale.contract import (
    INDEX_SCHEMA,
    RECORDINGS_SCHEMA,
    labels_from_json,
    labels_to_json,
    read_table,
    to_table,
    write_table,
)
from physioscale.errors import InputError, MissingInputError


def _index_row(number: int) -> dict[str, Any]:
    return {
        "key": f"rest_{number:03d}",
        "shard": "train-000000.tar",
        "split": "train",
        "recording": "rest",
        "segment": number,
        "run": 0,
        "start_sample": 512 * number,
        "start_s": 2.0 * number,
        "num_times": 512,
        "num_channels": 1,
        "sampling_rate_hz": 256.0,
        "dtype": "int16",
        "signal_offset": 2048 + 4096 * number,
        "signal_bytes": 1024,
        "members": [{"name": "signal.npy", "offset": 1920, "size": 1152}],
        "scale": [1e-7],
        "offset": [0.0],
        "block_crc32": [2**32 - 1],
        "quality": [{"name": "flat", "value": 0.5}],
    }


def test_equal_rows_give_equal_bytes_and_come_back(tmp_path: Path) -> None:
    rows = [_index_row(number) for number in range(3)]
    write_table(tmp_path / "a.parquet", to_table(rows, schema=INDEX_SCHEMA))
    write_table(tmp_path / "b.parquet", to_table(rows, schema=INDEX_SCHEMA))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert read_table(tmp_path / "a.parquet", schema=INDEX_SCHEMA).to_pylist() == rows


def test_rows_in_another_order_give_other_bytes(tmp_path: Path) -> None:
    rows = [_index_row(number) for number in range(3)]
    write_table(tmp_path / "a.parquet", to_table(rows, schema=INDEX_SCHEMA))
    write_table(tmp_path / "b.parquet", to_table(rows[::-1], schema=INDEX_SCHEMA))
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("schema", [INDEX_SCHEMA, RECORDINGS_SCHEMA])
def test_a_table_without_rows_keeps_its_columns(tmp_path: Path, schema: pa.Schema) -> None:
    write_table(tmp_path / "t.parquet", to_table([], schema=schema))
    assert read_table(tmp_path / "t.parquet", schema=schema).schema.equals(schema)


def test_some_columns_can_be_read_alone(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", to_table([_index_row(0)], schema=INDEX_SCHEMA))
    table = read_table(tmp_path / "t.parquet", schema=INDEX_SCHEMA, columns=["key", "run"])
    assert table.to_pylist() == [{"key": "rest_000", "run": 0}]


def test_a_row_with_a_field_too_many_is_refused() -> None:
    with pytest.raises(TypeError, match=r"row fields differ from the schema: \['extra'\]"):
        to_table([{**_index_row(0), "extra": 1}], schema=INDEX_SCHEMA)


def test_a_row_with_a_field_too_few_is_refused() -> None:
    row = _index_row(0)
    del row["key"]
    with pytest.raises(TypeError, match=r"row fields differ from the schema: \['key'\]"):
        to_table([row], schema=INDEX_SCHEMA)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"index.parquet: no such file"):
        read_table(tmp_path / "index.parquet", schema=INDEX_SCHEMA)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").write_bytes(b"not a table at all, not even nearly")
    with pytest.raises(InputError, match=r"index.parquet: an unreadable table .* expected Parquet"):
        read_table(tmp_path / "index.parquet", schema=INDEX_SCHEMA)


def _without_run(table: pa.Table) -> pa.Table:
    return table.drop_columns(["run"])


def _with_gain(table: pa.Table) -> pa.Table:
    return table.append_column("gain", pa.array([1.0]))


def _with_float_run(table: pa.Table) -> pa.Table:
    at = table.schema.get_field_index("run")
    return table.set_column(at, "run", pa.array([0.0]))


@pytest.mark.parametrize(
    ("change", "name"), [(_without_run, "run"), (_with_gain, "gain"), (_with_float_run, "run")]
)
def test_columns_that_are_missing_unknown_or_of_another_type_are_named(
    tmp_path: Path, change: Any, name: str
) -> None:
    table = change(to_table([_index_row(0)], schema=INDEX_SCHEMA))
    pq.write_table(table, tmp_path / "index.parquet")
    with pytest.raises(InputError, match=f"columns that differ: {name}; expected the columns"):
        read_table(tmp_path / "index.parquet", schema=INDEX_SCHEMA)


def test_labels_are_canonical_json_and_come_back() -> None:
    labels: dict[str, str | float | None] = {
        "sex": "F",
        "age": 31.0,
        "state": None,
        "ort": "K\u00f6ln",
    }
    text = labels_to_json(labels)
    assert text == labels_to_json(dict(reversed(labels.items())))
    assert labels_from_json(text) == labels


def test_labels_that_are_not_a_number_are_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        labels_to_json({"age": float("nan")})
