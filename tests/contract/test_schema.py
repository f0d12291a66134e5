"""Names on which the writer and every reader agree."""

import pytest

from physioscale.contract import SPLITS, shard_name, split_of_shard
from physioscale.contract.schema import check_key, check_member, check_schema
from physioscale.errors import InputError


@pytest.mark.parametrize("split", SPLITS)
def test_the_name_of_a_shard_states_its_split(split: str) -> None:
    assert shard_name(split, 12) == f"{split}-000012.tar"
    assert split_of_shard(shard_name(split, 12)) == split


@pytest.mark.parametrize(
    "name", ["train-1.tar", "dev-000000.tar", "train-000000.tar.gz", "x/train-000000.tar", ""]
)
def test_a_shard_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="a shard name of another form; expected train-, val-"):
        split_of_shard(name)


@pytest.mark.parametrize("key", ["a", "sub-01_task-rest_000", "A" * 80])
def test_keys_of_letters_digits_dash_and_underscore_are_taken(key: str) -> None:
    check_key(key, where="here")


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a b", "A" * 81, "\u00e9", "a\n"])
def test_a_key_that_would_split_or_overflow_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=r"here: sample key .*; expected 1 to 80 characters"):
        check_key(key, where="here")


@pytest.mark.parametrize("name", ["labels.json", "report.txt", "signal_200hz.npy", "a.b"])
def test_names_of_optional_members_are_taken(name: str) -> None:
    check_member(name, where="here")


@pytest.mark.parametrize(
    "name",
    ["labels", ".json", "_labels.json", "a/b.json", "Labels.json", "a.b.c", "a" * 16 + ".npy"],
)
def test_a_member_that_would_be_skipped_or_overflow_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"here: member name .* at most 19 characters"):
        check_member(name, where="here")


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0, [1]])
def test_a_schema_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(InputError, match=r"here: shard schema .*; expected schema 1"):
        check_schema(version, where="here")
    check_schema(1, where="here")
