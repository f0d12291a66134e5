"""Strict configuration: what is accepted, what is refused, and in which words."""

import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from physioscale.config import (
    ConfigurationError,
    RunConfig,
    check_run,
    config_hash,
    load_strict,
    parse_overrides,
    read_yaml_settings,
    to_yaml,
)
from physioscale.config.identity import LAUNCH_KEYS
from physioscale.errors import InputError, MissingInputError


@dataclass
class Inner:
    size: int = 2
    share: float = 0.5


@dataclass
class Schema:
    steps: int
    name: str = "a"
    lr: float = 1e-3
    flag: bool = False
    limit: float | None = None
    files: list[str] = field(default_factory=list)
    betas: list[float] = field(default_factory=lambda: [0.9])
    extra: dict[str, int] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None


def load(*words: str) -> Schema:
    return load_strict(Schema, parse_overrides(words), where="test")


def run_config(**sections: Mapping[str, object]) -> RunConfig:
    config = RunConfig(recipe="r", variant="v", stage="s", model=Inner(), objective=Inner())
    config.data.batch_samples = 16
    for section, values in sections.items():
        for key, value in values.items():
            setattr(getattr(config, section), key, value)
    return config


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("steps=1_000", "steps", 1000),
        ("lr=1e-4", "lr", 1e-4),
        ("lr=3", "lr", 3.0),
        ("flag=true", "flag", True),
        ("limit=null", "limit", None),
        ("limit=.5", "limit", 0.5),
        ("name=2024_01", "name", "2024_01"),
        ("name=010", "name", "010"),
        ("name=1:30", "name", "1:30"),
        ("name='a b'", "name", "a b"),
        ("name=k: v", "name", "k: v"),
        ("name=[a]", "name", "[a]"),
        ("name=x=y", "name", "x=y"),
        ("files=one", "files", ["one"]),
        ("files=2024_01", "files", ["2024_01"]),
        ("files=[a, b]", "files", ["a", "b"]),
        ("betas=[1, 0.5]", "betas", [1.0, 0.5]),
        ("extra.a=3", "extra", {"a": 3}),
        ("extra={a: 3}", "extra", {"a": 3}),
        ("limits.a=3", "limits", {"a": 3.0}),
        ("limits={a: 3}", "limits", {"a": 3.0}),
        ("labels.eyes=open", "labels", {"eyes": ["open"]}),
        ("labels.eyes=[open, 'no']", "labels", {"eyes": ["open", "no"]}),
        ("labels.day=2024_01", "labels", {"day": ["2024_01"]}),
        ("inner.size=${steps}", "inner", Inner(size=7)),
        ("inner={size: 4}", "inner", Inner(size=4)),
        ("maybe.size=4", "maybe", Inner(size=4)),
        ("maybe=null", "maybe", None),
    ],
)
def test_value_is_read_as_the_field_asks(word: str, key: str, value: object) -> None:
    assert getattr(load("steps=7", word), key) == value


def test_value_of_a_float_field_is_a_float() -> None:
    loaded = load("steps=7", "lr=3", "betas=[1]")
    assert type(loaded.lr) is float
    assert type(loaded.betas[0]) is float


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stepz=1", r"stepz \(command line\): unknown key 'stepz'; .*Did you mean 'steps'\?"),
        ("inner.sise=1", r"inner.sise .*unknown key 'sise' in section 'inner'.*mean 'size'"),
        ("size=1", r"unknown key 'size'.*Did you mean 'inner.size'\?"),
        ("steps=many", r"steps \(command line\): 'many'; expected a whole number"),
        ("steps=3.0", r"steps .*: 3.0; expected a whole number"),
        ("steps='3'", r"steps .*: '3'; expected a whole number"),
        ("steps=true", r"steps .*: True; expected a whole number"),
        ("steps=null", r"steps .*: null; expected a whole number"),
        ("steps=[1]", r"steps .*: \[1\]; expected a whole number"),
        ("steps.a=1", r"steps .*: a mapping; expected a whole number"),
        ("lr=fast", r"lr .*: 'fast'; expected a number"),
        ("flag=1", r"flag .*: 1; expected true or false"),
        ("limit=low", r"limit .*: 'low'; expected a number or null"),
        ("name=", r"name .*: null; expected text"),
        ("inner={size: x, shar: 1}", r"inner.size \(command line\): 'x'; expected a whole"),
        ("files=[1]", r"files .*: the element 1; expected a list, each element text"),
        ("betas=0.9", r"betas .*: 0.9; expected a list, each element a number"),
        ("betas=[x]", r"betas .*: the element 'x'; expected a list"),
        ("extra=3", r"extra .*: 3; expected a mapping, each value a whole number"),
        ("extra.a.b=3", r"extra.a.b .*: a mapping; expected a mapping, each value a whole number"),
        ("extra.a=x", r"extra.a .*: 'x'; expected a whole number"),
        ("extra={a: x}", r"extra .*: a: 'x'; expected a mapping, each value a whole number"),
        ("labels.n=[1]", r"labels.n .*: the element 1; .*each element text. Quote what"),
        ("labels={n: [1]}", r"labels .*: n: the element 1; expected a mapping, each value a list"),
        ("inner=3", r"inner .*: 3; expected a mapping with size, share"),
        ("inner=null", r"inner .*: null; expected a mapping"),
        ("lr=${nope}", r"lr .*: '\$\{nope\}': .*not found; expected a reference"),
        ("inner.size=${lr}", r"inner.size .*could not be converted.*expected a reference"),
        ("steps", r"'steps'; expected key=value"),
        ("=3", r"'=3'; expected key=value"),
        ("a..b=3", r"'a..b=3'; expected key=value"),
        ("files=[a", r"command line, files line 1: .*; expected plain YAML"),
        ("inner={size: 1, size: 2}", r"the key 'size' a second time"),
        ("name=!!python/name:os.x", r"could not determine a constructor"),
    ],
)
def test_bad_override_is_refused_by_name(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load("steps=7", word)


def test_missing_mandatory_key_is_named() -> None:
    with pytest.raises(InputError, match=r"test: steps: no value; expected a whole number"):
        load()


def test_all_problems_are_raised_together() -> None:
    with pytest.raises(ConfigurationError, match=r"^4 problems in the configuration") as caught:
        load("lr=x", "stepz=1", "inner.size=y")
    message = str(caught.value)
    for key in ("lr (command line)", "stepz (command line)", "inner.size", "test: steps"):
        assert key in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_later_setting_wins_and_lists_are_replaced() -> None:
    loaded = load("steps=1", "steps=2", "betas=[1, 2, 3]", "betas=[4]", "extra.a=1", "extra.b=2")
    assert (loaded.steps, loaded.betas, loaded.extra) == (2, [4.0], {"a": 1, "b": 2})


def test_yaml_file_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: 1\ninner:\n  # a comment\n  siz: 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"inner.siz \(.*c.yaml line 4\): unknown key 'siz'"):
        load_strict(Schema, read_yaml_settings(path), where="test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r"c.yaml line 2: the key 'a' a second time"),
        ("x: [{a: 1, a: 2}]", r"c.yaml line 1: the key 'a' a second time"),
        ("a: [\nb: 1", r"c.yaml line 2: expected ',' or '\]'"),
        ("a:\n\t- b", r"c.yaml line 2: .*cannot start any token"),
        ("- 1", r"c.yaml: no mapping at the top level"),
        ("", r"c.yaml: no mapping at the top level"),
        ("a: !!python/object:os.x {}\n", r"c.yaml line 1: could not determine a constructor"),
        ("? [a]\n: 1", r"c.yaml line 1: a key that is not a word"),
        ("a: \x07", r"c.yaml: unacceptable character"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_yaml_settings(path)


def test_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none.yaml: no such file"):
        read_yaml_settings(tmp_path / "none.yaml")
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(InputError, match=r"d.yaml: it cannot be read \(Is a directory\)"):
        read_yaml_settings(tmp_path / "d.yaml")
    (tmp_path / "b.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InputError, match=r"b.yaml: byte 3 is not UTF-8"):
        read_yaml_settings(tmp_path / "b.yaml")


def test_merge_key_of_yaml_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\n", encoding="utf-8")
    values = {setting.key: setting.value for setting in read_yaml_settings(path)}
    assert values == {"a.x": 1, "a.y": 2, "b.x": 1, "b.y": 3}


def test_good_run_passes_the_check() -> None:
    check_run(run_config())
    check_run(run_config(data={"batch_samples": None, "batch_tokens": 4096}))
    check_run(run_config(trainer={"devices": 4, "nodes": 2}, data={"micro_batch": 2}))


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("trainer", {"strategy": "zero"}, r"trainer.strategy: 'zero'; expected one of auto,"),
        ("trainer", {"precision": "16"}, r"trainer.precision: '16'; expected one of 32, bf16"),
        ("trainer", {"accelerator": "gpu"}, r"trainer.accelerator: 'gpu'; expected one of"),
        ("tracking", {"wandb": "offlin"}, r"tracking.wandb: 'offlin'.*Did you mean 'offline'"),
        ("load", {"normalise": "zscore"}, r"load.normalise: 'zscore'; expected one of none"),
        ("optimizer", {"name": "adam"}, r"optimizer.name: 'adam'.*Did you mean 'adamw'"),
        ("schedule", {"name": "cosine"}, r"schedule.name: 'cosine'; expected one of"),
        ("accepts", {"kinds": ["signl"]}, r"accepts.kinds: 'signl'.*Did you mean 'signal'"),
        (
            "accepts",
            {"channel_types": ["egg"]},
            r"accepts.channel_types: 'egg'; expected one of eeg, eog",
        ),
        ("accepts", {"units": ["kV"]}, r"accepts.units: 'kV'; expected one of V, mV"),
        ("data", {"window_s": 0.0}, r"data.window_s: 0.0; expected a number above 0"),
        ("data", {"window_s": float("nan")}, r"data.window_s: nan; expected a number above 0"),
        ("data", {"window_s": float("inf")}, r"data.window_s: inf; expected a number above 0"),
        ("data", {"stride_s": -1.0}, r"data.stride_s: -1.0; expected a number above 0"),
        ("data", {"micro_batch": 0}, r"data.micro_batch: 0; expected a number above 0"),
        ("data", {"damage_budget": -1}, r"data.damage_budget: -1; expected a number not below 0"),
        ("trainer", {"devices": 0}, r"trainer.devices: 0; expected a number above 0"),
        ("optimizer", {"weight_decay": -1.0}, r"optimizer.weight_decay: -1.0; .*not below 0"),
        ("optimizer", {"betas": [0.9, 1.0]}, r"optimizer.betas: \[0.9, 1.0\]; expected two"),
        ("optimizer", {"betas": [0.9]}, r"optimizer.betas: \[0.9\]; expected two numbers"),
        ("schedule", {"warmup_share": 0.95}, r"warmup_share \+ .*: 1.05; .*at most 1"),
        ("data", {"batch_samples": None}, r"neither is set; expected exactly one of them"),
        ("data", {"batch_tokens": 64}, r"both are set \(16 and 64\); expected exactly one"),
        ("data", {"batch_samples": 12}, r"data.batch_samples: 12 with .* 8;.*Take 8 or 16"),
        (
            "data",
            {"micro_batch": 3},
            r"micro_batch: a batch of 16 windows for 1 devices x 1 nodes = 1 ranks, micro batch 3",
        ),
        ("load", {"low_cut_hz": 50.0, "high_cut_hz": 40.0}, r"low_cut_hz: 50.0; .*\(40.0 Hz\)"),
        (
            "load",
            {"high_cut_hz": 101.0, "sampling_rate_hz": 200.0},
            r"load.high_cut_hz: 101.0; expected a corner not above half of .*\(200.0 Hz\)",
        ),
    ],
)
def test_bad_run_is_refused(section: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_run(run_config(**{section: values}))


def test_layout_of_ranks_that_does_not_divide_the_batch_is_refused() -> None:
    config = run_config(trainer={"devices": 3, "nodes": 2}, data={"micro_batch": 4})
    with pytest.raises(ConfigurationError) as caught:
        check_run(config)
    message = str(caught.value)
    assert "a batch of 16 windows for 3 devices x 2 nodes = 6 ranks, micro batch 4" in message
    assert "Take 24 windows" in message
    assert "data.divisible_by: 8 with 3 devices x 2 nodes = 6 ranks" in message


def test_hash_is_the_same_in_another_process() -> None:
    code = (
        "from physioscale.config import RunConfig, config_hash\n"
        "print(config_hash(RunConfig('r', 'v', 's', {'b': 1.5, 'a': [1]}, {'x': None})))\n"
    )
    hashes = set()
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        hashes.add(run.stdout.strip())
    config = RunConfig("r", "v", "s", {"a": [1], "b": 1.5}, {"x": None})
    assert hashes == {config_hash(config)}


def test_hash_leaves_out_what_two_launches_may_change() -> None:
    base = config_hash(run_config())
    for key in LAUNCH_KEYS:
        section, _, leaf = key.partition(".")
        if leaf:
            assert config_hash(run_config(**{section: {leaf: "another"}})) == base, key
    assert config_hash(run_config(run={"name": "x"}, tracking={"wandb": "online"})) == base


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"window_s": 4.0}},
        {"data": {"shards": ["a"]}},
        {"data": {"batch_samples": 32}},
        {"trainer": {"max_steps": 7}},
        {"trainer": {"precision": "bf16-mixed"}},
        {"optimizer": {"lr": 2e-3}},
        {"load": {"normalise": "session"}},
    ],
)
def test_hash_covers_what_is_computed(change: dict[str, dict[str, object]]) -> None:
    assert config_hash(run_config(**change)) != config_hash(run_config())


def test_hash_does_not_depend_on_the_order_of_fields() -> None:
    def with_model(model: object) -> str:
        return config_hash(dataclasses.replace(run_config(), model=model))

    left = dataclasses.make_dataclass("Left", [("a", int, 1), ("b", int, 2)])
    right = dataclasses.make_dataclass("Right", [("b", int, 2), ("a", int, 1)])
    assert with_model(left()) == with_model(right())


def test_yaml_keeps_the_order_of_the_fields() -> None:
    keys = [line.partition(":")[0] for line in to_yaml(run_config()).splitlines()]
    assert [key for key in keys if not key.startswith((" ", "-"))] == [
        field.name for field in dataclasses.fields(RunConfig)
    ]


@pytest.mark.parametrize("name", ["", "..", "../elsewhere", "a/b", "a\\b"])
def test_a_run_name_that_leaves_the_folder_of_runs_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"run\.name: .*expected the name of one folder"):
        check_run(run_config(run={"name": name}))


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"reference": ["average", "Cz"]}, r"load\.reference: .*\[average\], or names"),
        ({"reference": ["Cz"], "normalise": "session"}, r"load\.normalise: session with load\.ref"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(load: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_run(run_config(load=load))
