"""A resolved configuration as text, and the hash that tells one run from another."""

import dataclasses
import hashlib
import json
from typing import Any

from omegaconf import OmegaConf

from physioscale.config.run import RunConfig

HASH_LENGTH = 12

LAUNCH_KEYS = (
    "run",
    "tracking",
    "data.cache_dir",
    "data.damage_budget",
    "data.micro_batch",
    "data.reader_threads",
    "data.ring_batches",
    "trainer.accelerator",
    "trainer.checkpoint_every_steps",
    "trainer.devices",
    "trainer.keep_checkpoints",
    "trainer.log_every_steps",
    "trainer.nodes",
    "trainer.stop_at_step",
)
"""Keys that may change between two launches of one run: where it runs, how often it writes and
where it pauses. All other keys decide what is computed, and another value is another run."""


def to_yaml(config: Any) -> str:
    """Return a configuration dataclass as YAML, keys in the order of the fields.

    `physioscale.recipes.loader.read_run_config` reads it back to an equal configuration.
    """
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def config_hash(config: RunConfig) -> str:
    """Return 12 hexadecimal digits that are equal for two launches of one run.

    The hash covers every key except `LAUNCH_KEYS`; it does not depend on the order of fields, on
    the machine or on the Python version.
    """
    values = dataclasses.asdict(config)
    for key in LAUNCH_KEYS:
        *sections, leaf = key.split(".")
        inner = values
        for section in sections:
            inner = inner[section]
        del inner[leaf]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:HASH_LENGTH]
