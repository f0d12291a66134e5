"""`physioscale show` and `validate`: the resolved configuration, the sizes, and the checks."""

import dataclasses
import json
from pathlib import Path

import pytest

from physioscale.cli.main import main
from physioscale.config import config_hash, read_yaml_settings
from physioscale.recipes import ENVIRONMENT_VARIABLE
from physioscale.recipes.loader import load_recipe, read_run_config
from physioscale.testing.recipes import RECIPE_YAML, write_recipe
from physioscale.testing.shards import write_shard_set


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    return write_recipe(tmp_path).name


def test_text_is_the_configuration_as_yaml(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", name, "variant=wide", "trainer.max_steps=7"]) == 0
    kept = tmp_path / "kept.yaml"
    kept.write_text(capsys.readouterr().out, encoding="utf-8")
    _, config = read_run_config(kept)
    assert config == load_recipe(name).resolve(variant="wide", overrides=["trainer.max_steps=7"])
    assert len(read_yaml_settings(kept)) > 40


def test_text_gives_the_size_of_every_variant(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", name]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")]
    assert lines[0] == f"# {name}: One linear layer (encoder; eeg)"
    rows = [line.split() for line in lines]
    assert ["#", "debug", "8", "8", "9", "thousand", "12", "<-", "shown", "below"] in rows
    assert ["#", "wide", "40", "-", "-", "44"] in rows


def test_json_gives_configuration_and_sizes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name, "--json", "model.dim=3"]) == 0
    shown = json.loads(capsys.readouterr().out)
    config = load_recipe(name).resolve(overrides=["model.dim=3"])
    assert shown["config"] == dataclasses.asdict(config)
    assert shown["config_hash"] == config_hash(config)
    assert shown["variants"] == [
        {
            "name": "debug",
            "description": "two inputs",
            "encoder_parameters": 12,
            "total_parameters": 16,
            "paper_parameters": "9 thousand",
            "counted_encoder_parameters": 8,
            "shown": True,
        },
        {
            "name": "wide",
            "description": "ten inputs",
            "encoder_parameters": 40,
            "total_parameters": 44,
            "paper_parameters": None,
            "counted_encoder_parameters": None,
            "shown": False,
        },
    ]
    assert (shown["name"], shown["kind"], shown["default_variant"]) == (name, "encoder", "debug")


@pytest.mark.parametrize("command", ["show", "validate"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.dmi=1", "Did you mean 'dim'?"),
        ("variant=dbug", "Did you mean 'debug'?"),
        ("trainer.devices=3", "a batch of 16 windows for 3 devices"),
        ("model.dim=0", "dim is 0; at least 1 is needed"),
        ("data.window_s=0", "data.window_s: 0.0; expected a number above 0"),
        ("nonsense", "expected key=value"),
    ],
)
def test_mistake_is_named(
    name: str, command: str, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, name, word]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_validate_builds_every_variant(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", name]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["debug", "8", "12", "10", "(1", "channels,", "10", "s)"] in rows
    assert ["wide", "40", "44", "10", "(1", "channels,", "10", "s)"] in rows
    assert rows[-1] == ["valid"]


def test_validate_of_one_variant_builds_that_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", name, "variant=wide"]) == 0
    printed = capsys.readouterr().out
    assert "\n  wide " in printed
    assert "\n  debug " not in printed


def test_validate_finds_a_mistake_in_any_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    name = write_recipe(tmp_path, yaml=RECIPE_YAML.replace("{dim: 10}", "{dim: -1}")).name
    assert main(["validate", name]) == 2
    assert "variant 'wide': model: the network cannot be built" in capsys.readouterr().err


def test_window_without_a_token_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", name, "data.window_s=0.5"]) == 2
    assert "data.window_s: 0 tokens in a window of 0.5 s" in capsys.readouterr().err


def test_shards_are_compared_with_what_the_recipe_accepts(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    write_shard_set(shards, corpus="made_up", notch_hz=(50.0,))
    words = ["validate", name, f"data.shards={shards}"]
    assert main([*words, "accepts.notch=true"]) == 0
    assert f"shards {shards}: made_up, 12 recordings, 0.20 h: accepted" in capsys.readouterr().out
    assert main(words) == 2
    assert "accepts.notch: shards with a notch filter; expected" in capsys.readouterr().err
    assert main([*words, "accepts.notch=true", "accepts.channel_types=[ecg]"]) == 2
    assert "accepts.channel_types: channels of type eeg" in capsys.readouterr().err


def test_validate_reads_the_tables_as_training_would(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_shard_set(tmp_path / "set")
    words = ["validate", name, f"data.shards={truth.path}"]
    assert main([*words, "data.window_s=90"]) == 2
    assert "windows of 90 s, but the longest" in capsys.readouterr().err
    assert main([*words, "accepts.min_channels=99"]) == 2
    assert "fewer than 99 usable channels" in capsys.readouterr().err
    assert main([*words, "variant=wide"]) == 0
    assert "steps per epoch" in capsys.readouterr().out


def test_every_bad_shard_set_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = f"data.shards=[{tmp_path}/empty, {tmp_path}/none]"
    assert main(["validate", name, words]) == 2
    message = capsys.readouterr().err
    assert "empty: no dataset.json in it" in message
    assert "none: no such folder" in message
