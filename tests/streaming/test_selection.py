"""Selection on the tables: recordings and channels chosen before any sample is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from physioscale.config import RunConfig, SelectConfig
from physioscale.errors import InputError
from physioscale.streaming import open_stream
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

Config = Callable[..., RunConfig]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Return two corpora of four recordings each."""
    recordings = [
        SyntheticRecording(f"s{n}", task=task, labels={"age": 20.0 + n, "group": "ab"[n]})
        for n in range(2)
        for task in ("eyesopen", "eyesclosed")
    ]
    return [
        write_shard_set(tmp_path / corpus, recordings=recordings, corpus=corpus).path
        for corpus in ("one", "two")
    ]


@pytest.mark.parametrize(
    ("select", "kept", "reason"),
    [
        (SelectConfig(corpora=["two"]), 4, "4 recordings (corpus not selected)"),
        (SelectConfig(tasks=["eyesclosed"]), 4, "4 recordings (task not selected)"),
        (SelectConfig(labels={"group": ["b"]}), 4, "4 recordings (label group not selected)"),
        (SelectConfig(labels={"age": ["20", "21"]}), 8, ""),
        (
            SelectConfig(corpora=["one"], tasks=["eyesopen"], labels={"age": ["21"]}),
            1,
            "1 recordings (label age not selected)",
        ),
    ],
)
def test_recordings_are_chosen_and_the_others_counted(
    folders: list[Path], make_config: Config, select: SelectConfig, kept: int, reason: str
) -> None:
    stream = open_stream(make_config(*folders, data={"select": select}), split="train")
    assert len(stream.recordings) == kept
    assert reason in "\n".join(stream.describe())


def test_the_selection_is_part_of_the_plan(folders: list[Path], make_config: Config) -> None:
    def plan_hash(select: SelectConfig) -> str:
        config = make_config(*folders, data={"select": select})
        return open_stream(config, split="train").plan_hash

    assert plan_hash(SelectConfig()) != plan_hash(SelectConfig(corpora=["one"]))


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (SelectConfig(labels={"grop": ["b"]}), r"'grop'; did you mean 'group'\?"),
        (SelectConfig(max_quality={"flat": 0.5}), r"max_quality.*'flat'.*expected one of none"),
    ],
)
def test_names_that_no_table_knows_are_refused(
    folders: list[Path], make_config: Config, select: SelectConfig, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_stream(make_config(*folders, data={"select": select}), split="train")
