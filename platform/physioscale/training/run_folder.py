"""The folder of a run: what it is, what it did, and whether a launch goes on with it.

    config.yaml      the resolved configuration of the newest launch
    run.json         versions, commit, shard sets, plan, parameters, and a row per launch
    trained_on.json  whom and what it trains on, by hash: an evaluation compares its test with it
    metrics.jsonl    a row per global step
    checkpoints/     see physioscale.training.checkpoint
    tensorboard/, wandb/    views of metrics.jsonl

Two launches belong to one run if they differ in nothing but `LAUNCH_KEYS` (where it runs, how often
it writes, where it pauses) and read the same order of the same shards.
"""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from physioscale import __version__
from physioscale.config import RunConfig, config_hash, read_yaml_settings, to_yaml
from physioscale.config.identity import LAUNCH_KEYS
from physioscale.contract import open_shard_set, publish_bytes
from physioscale.contract.identity import Identities, identities
from physioscale.errors import InputError

CONFIG_FILE = "config.yaml"
FACTS_FILE = "run.json"
TRAINED_ON_FILE = "trained_on.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
_PACKAGES = ("torch", "lightning", "deepspeed", "numpy", "mne", "pyarrow", "webdataset", "wandb")
_SECRET = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG_FILE

    @property
    def facts(self) -> Path:
        return self.path / FACTS_FILE

    @property
    def trained_on(self) -> Path:
        return self.path / TRAINED_ON_FILE

    @property
    def metrics(self) -> Path:
        return self.path / METRICS_FILE

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS


def run_folder(config: RunConfig) -> RunFolder:
    """Return the folder of the run that `config` belongs to; nothing is created."""
    name = config.run.name or f"{config.recipe}-{config.variant}-{config_hash(config)}"
    return RunFolder(Path(config.run.root) / name)


def check_same_run(run: RunFolder, config: RunConfig) -> None:
    """Refuse to go on in a folder that belongs to another configuration.

    Raises:
        InputError: names the keys that differ, with both values, or config.yaml is damaged.
    """
    if not run.config.is_file():
        return
    read_yaml_settings(run.config)  # names the line of a file that is not YAML
    stored = _flat(OmegaConf.to_container(OmegaConf.load(run.config)))
    wanted = _flat(OmegaConf.to_container(OmegaConf.create(to_yaml(config))))
    differing = [
        key
        for key in sorted(stored.keys() | wanted.keys())
        if stored.get(key) != wanted.get(key) and not _may_differ(key)
    ]
    if differing:
        shown = [f"{k} (there {stored.get(k)}, now {wanted.get(k)})" for k in differing[:5]]
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise InputError(
            str(run.config),
            found=f"another configuration: {', '.join(shown)}{more}",
            expected=f"one that differs only in {', '.join(LAUNCH_KEYS)}",
            do="Set these keys back to go on with that run, or choose another run.name.",
        )


def check_same_plan(run: RunFolder, *, stored_hash: str, plan_hash: str) -> None:
    """Refuse to go on with another order than the checkpoint's.

    Raises:
        InputError: the shards, or the software that orders them, changed since.
    """
    if stored_hash != plan_hash:
        raise InputError(
            str(run.path),
            found=f"a checkpoint of plan {stored_hash[:12]}, but these shards give plan "
            f"{plan_hash[:12]}",
            expected="the same shards in the same order",
            do="Point data.shards at the shards the run began with, or choose another run.name.",
        )


def record_launch(
    run: RunFolder,
    config: RunConfig,
    *,
    plan_hash: str,
    parameters: dict[str, int],
    layout: dict[str, Any],
    first_step: int,
) -> int:
    """Write config.yaml and a new row of run.json; return the number of this launch, from 1."""
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    launches = read_facts(run)["launches"] if run.facts.is_file() else []
    launches.append(
        {
            "attempt": len(launches) + 1,
            "first_step": first_step,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": without_secrets(sys.argv),
            "layout": layout,
            "versions": _versions(),
            "commit": _commit(),
        }
    )
    facts = {
        "recipe": config.recipe,
        "variant": config.variant,
        "stage": config.stage,
        "config_hash": config_hash(config),
        "seed": config.seed,
        "plan_hash": plan_hash,
        "shard_sets": [_shard_set(path) for path in config.data.shards],
        "parameters": parameters,
        "launches": launches,
    }
    publish_bytes(run.trained_on, _trained_on(config))
    publish_bytes(run.config, to_yaml(config).encode())
    publish_bytes(run.facts, f"{json.dumps(facts, indent=2)}\n".encode())
    return len(launches)


def read_facts(run: RunFolder) -> dict[str, Any]:
    """Return run.json."""
    facts: dict[str, Any] = json.loads(run.facts.read_text(encoding="utf-8"))
    return facts


def without_secrets(words: Sequence[str]) -> list[str]:
    """Return a command line in which values of keys that sound secret are replaced by ***."""
    shown = []
    for word in words:
        key, equals, _ = word.partition("=")
        shown.append(f"{key}=***" if equals and _SECRET.search(key) else word)
    return shown


def _may_differ(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in LAUNCH_KEYS)


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _shard_set(path: str) -> dict[str, str]:
    info = open_shard_set(path).info
    return {"path": path, "corpus": info.corpus, "checksum": info.checksum}


def _trained_on(config: RunConfig) -> bytes:
    """Return trained_on.json: all of the train split, also what `data.select` leaves out."""
    found = Identities()
    for path in config.data.shards:
        found |= identities(open_shard_set(path), split="train")
    return f"{json.dumps(found.to_json(), indent=2)}\n".encode()


def _versions() -> dict[str, str]:
    versions = {"physioscale": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str | None:
    """Return the commit of the checkout this package runs from, "+" behind it if changed."""
    folder = Path(__file__).parent
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                timeout=20,
                env=environment,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed below some other project's checkout, that project's commit would say nothing.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    return (
        f"{commit}+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
    )
