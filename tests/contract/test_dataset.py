"""`dataset.json` and the set as a whole: nothing in it can change unseen."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from physioscale.contract import (
    DATASET_FILE,
    INDEX_FILE,
    RECORDINGS_FILE,
    DatasetInfo,
    MemberSpec,
    ShardFacts,
    SplitFacts,
    open_shard_set,
    write_dataset,
    write_table,
)
from physioscale.contract.dataset import declared_members, parse_dataset
from physioscale.errors import InputError, MissingInputError
from physioscale.testing.recordings import synthetic_recordings
from physioscale.testing.shards import write_shard_set

INFO = DatasetInfo(
    kind="signal",
    corpus="tiny",
    profile={"name": "wide", "low_cut_hz": 0.1},
    profile_sha256="0" * 64,
    plan_sha256="1" * 64,
    versions={"physioscale": "0.1"},
    splits={"train": SplitFacts(1, 2, 3, 0.05)},
    shards=(ShardFacts("train-000000.tar", "2" * 64, 10240, 3),),
    files={INDEX_FILE: "3" * 64},
    quarantined=0,
    members={"labels.json": MemberSpec("json", "object", "1", "labels")},
    linked_corpora=("larger",),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recordings = synthetic_recordings(3, duration_s=2.0, num_channels=2)
    return write_shard_set(tmp_path / "set", recordings=recordings).path


def _rendered(tmp_path: Path, info: DatasetInfo = INFO) -> bytes:
    write_dataset(tmp_path, info)
    return (tmp_path / DATASET_FILE).read_bytes()


def _edited(data: bytes, **changes: Any) -> bytes:
    fields = {**json.loads(data), **changes}
    return (json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    info = parse_dataset(_rendered(tmp_path), where="here")
    assert info == INFO
    assert info.checksum == INFO.checksum
    assert declared_members(info) == ("signal.npy", "crc.npy", "meta.json", "labels.json")


def test_a_flipped_bit_of_any_byte_is_found(tmp_path: Path) -> None:
    data = _rendered(tmp_path)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(InputError, match=r"^here: "):
            parse_dataset(bytes(damaged), where="here")


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\n", b"[" * 3, b"null"])
def test_text_that_is_no_dataset_is_refused(damaged: bytes) -> None:
    with pytest.raises(InputError, match=r"^here: "):
        parse_dataset(damaged, where="here")


def test_a_cut_file_and_a_file_with_more_behind_it_are_refused(tmp_path: Path) -> None:
    data = _rendered(tmp_path)
    for changed in (data[:-1], data + b"\n", data[: len(data) // 2]):
        with pytest.raises(InputError, match=r"^here: "):
            parse_dataset(changed, where="here")


def test_an_unknown_schema_is_refused_by_its_number(tmp_path: Path) -> None:
    data = _edited(_rendered(tmp_path), schema=2)
    with pytest.raises(InputError, match="here: shard schema 2; expected schema 1"):
        parse_dataset(data, where="here")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_a_value_that_json_reads_and_we_never_write_is_refused(
    tmp_path: Path, value: float | str
) -> None:
    text = _edited(_rendered(tmp_path), corpus="placeholder").decode()
    data = text.replace('"placeholder"', json.dumps(value)).encode()
    with pytest.raises(InputError, match="here: a content that was changed"):
        parse_dataset(data, where="here")


@pytest.mark.parametrize("splits", [[], {"train": {}}, {"train": None}, None])
def test_fields_that_do_not_fit_are_refused(tmp_path: Path, splits: Any) -> None:
    data = _edited(_rendered(tmp_path), splits=splits)
    with pytest.raises(InputError, match="here: fields that do not fit"):
        parse_dataset(data, where="here")


def test_an_edited_file_is_refused_although_it_is_canonical(tmp_path: Path) -> None:
    data = _edited(_rendered(tmp_path), quarantined=7)
    with pytest.raises(InputError, match="here: a content that was changed after it was written"):
        parse_dataset(data, where="here")


def test_an_unknown_kind_is_refused_on_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind 'signals'; expected one of"):
        write_dataset(tmp_path, dataclasses.replace(INFO, kind="signals"))
    assert not (tmp_path / DATASET_FILE).exists()


def test_a_member_name_that_a_tar_cannot_hold_is_refused_on_write(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, members={"_x.json": INFO.members["labels.json"]})
    with pytest.raises(InputError, match=r"member name '_x.json'"):
        write_dataset(tmp_path, info)


@pytest.mark.parametrize("name", ["../other/index.parquet", "/etc/hosts", "a/../../b"])
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    info = dataclasses.replace(INFO, files={name: "3" * 64})
    with pytest.raises(InputError, match="expected a path inside the folder"):
        write_dataset(tmp_path, info)


def test_a_shard_of_another_name_is_refused(tmp_path: Path) -> None:
    facts = dataclasses.replace(INFO.shards[0], name="../train-000000.tar")
    with pytest.raises(InputError, match="a shard name of another form"):
        write_dataset(tmp_path, dataclasses.replace(INFO, shards=(facts,)))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="absent: no such folder; expected a shard set"):
        open_shard_set(tmp_path / "absent")


def test_a_conversion_that_was_not_finished_is_refused(folder: Path) -> None:
    (folder / DATASET_FILE).unlink()
    with pytest.raises(MissingInputError, match=r"no dataset.json in it; expected a finished"):
        open_shard_set(folder)


@pytest.mark.parametrize(
    ("name", "attribute"), [(INDEX_FILE, "index"), (RECORDINGS_FILE, "recordings")]
)
def test_a_replaced_table_is_named(folder: Path, name: str, attribute: str) -> None:
    shard_set = open_shard_set(folder)
    write_table(folder / name, getattr(shard_set, attribute).slice(1))
    with pytest.raises(InputError, match=f"set/{name}: another content than dataset.json names"):
        getattr(open_shard_set(folder), attribute)


@pytest.mark.parametrize(
    ("name", "attribute"), [(INDEX_FILE, "index"), (RECORDINGS_FILE, "recordings")]
)
def test_a_missing_table_is_named(folder: Path, name: str, attribute: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingInputError, match=f"{name}: no such file"):
        getattr(open_shard_set(folder), attribute)


def test_the_checksum_covers_every_fact(tmp_path: Path) -> None:
    facts = dataclasses.replace(INFO.shards[0], sha256="f" * 64)
    others = [
        dataclasses.replace(INFO, corpus="other"),
        dataclasses.replace(INFO, shards=(facts,)),
        dataclasses.replace(INFO, files={INDEX_FILE: "f" * 64}),
        dataclasses.replace(INFO, linked_corpora=()),
    ]
    assert len({INFO.checksum, *(other.checksum for other in others)}) == 5
