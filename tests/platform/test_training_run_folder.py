"""Which launches belong to one run, and what a run folder says of them."""

import dataclasses
import json
from pathlib import Path

import pytest

from physioscale.config import DataConfig, RunConfig, RunFolderConfig, config_hash
from physioscale.errors import InputError
from physioscale.testing.training import write_training_shards
from physioscale.training.run_folder import (
    check_same_plan,
    check_same_run,
    read_facts,
    record_launch,
    run_folder,
    without_secrets,
)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    shards = write_training_shards(tmp_path / "shards")
    return RunConfig(
        recipe="reader",
        variant="debug",
        stage="pretrain",
        model={"dim": 4},
        objective={},
        data=DataConfig(shards=[str(shards)], batch_samples=8),
        run=RunFolderConfig(root=str(tmp_path / "runs")),
    )


def record(config: RunConfig, *, first_step: int = 0) -> int:
    return record_launch(
        run_folder(config),
        config,
        plan_hash="abc",
        parameters={"encoder": 1, "total": 2},
        layout={"ranks": 1},
        first_step=first_step,
    )


def test_the_name_follows_from_what_is_computed(config: RunConfig) -> None:
    path = run_folder(config).path
    assert path == Path(config.run.root) / f"reader-debug-{config_hash(config)}"
    config.trainer.devices = 2
    assert run_folder(config).path == path
    config.optimizer.lr = 0.5
    assert run_folder(config).path != path
    config.run.name = "mine"
    assert run_folder(config).path.name == "mine"


def test_a_launch_is_recorded_with_all_that_decides_its_result(config: RunConfig) -> None:
    assert record(config) == 1
    assert record(config, first_step=40) == 2
    facts = read_facts(run_folder(config))
    assert [launch["first_step"] for launch in facts["launches"]] == [0, 40]
    assert facts["config_hash"] == config_hash(config)
    assert len(facts["shard_sets"][0]["checksum"]) == 64
    launch = facts["launches"][1]
    assert {"physioscale", "python", "torch", "lightning", "numpy"} <= set(launch["versions"])
    assert launch["commit"] is None or len(launch["commit"].rstrip("+")) == 40
    json.dumps(facts, allow_nan=False)


def test_launch_settings_may_change_and_nothing_else(config: RunConfig) -> None:
    config.run.name = "mine"
    run = run_folder(config)
    check_same_run(run, config)  # nothing there yet
    record(config)
    config.trainer.devices = 4
    config.trainer.log_every_steps = 1
    config.tracking.wandb = "offline"
    check_same_run(run, config)
    other = dataclasses.replace(config, seed=3, model={"dim": 5})
    with pytest.raises(InputError, match=r"model\.dim \(there 4, now 5\), seed \(there 0, now 3\)"):
        check_same_run(run, other)


def test_many_differing_keys_are_counted(config: RunConfig) -> None:
    config.run.name = "mine"
    record(config)
    config.load.low_cut_hz = 1.0
    config.load.high_cut_hz = 40.0
    config.load.clip = 5.0
    config.load.normalise = "window"
    config.load.sampling_rate_hz = 100.0
    config.seed = 1
    config.optimizer.lr = 1.0
    with pytest.raises(InputError, match=r"load\.clip \(there None, now 5\.0\).* and 2 more"):
        check_same_run(run_folder(config), config)


def test_a_damaged_configuration_is_named_by_its_line(config: RunConfig) -> None:
    config.run.name = "mine"
    record(config)
    run = run_folder(config)
    run.config.write_text("seed: 0\nload: [", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine/config\.yaml line \d: .* expected plain YAML"):
        check_same_run(run, config)


def test_another_plan_is_refused(config: RunConfig) -> None:
    run = run_folder(config)
    check_same_plan(run, stored_hash="a" * 64, plan_hash="a" * 64)
    with pytest.raises(InputError, match=r"a checkpoint of plan aaaaaaaaaaaa, but .* plan bbbb"):
        check_same_plan(run, stored_hash="a" * 64, plan_hash="b" * 64)


def test_secrets_are_not_kept(config: RunConfig) -> None:
    words = ["train", "seed=1", "tracking.api_key=abc", "PASSWORD=x=y", "token"]
    assert without_secrets(words) == [
        "train",
        "seed=1",
        "tracking.api_key=***",
        "PASSWORD=***",
        "token",
    ]
