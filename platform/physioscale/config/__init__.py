"""Typed configuration of a run: dataclasses, and strict loading of YAML onto them."""

from physioscale.config.check import check_run, num_ranks
from physioscale.config.identity import config_hash, to_yaml
from physioscale.config.problems import ConfigurationError, raise_together
from physioscale.config.run import (
    AcceptsConfig,
    DataConfig,
    LoadConfig,
    OptimizerConfig,
    RunConfig,
    RunFolderConfig,
    ScheduleConfig,
    SelectConfig,
    TrackingConfig,
    TrainerConfig,
)
from physioscale.config.settings import Setting, parse_overrides, read_yaml_settings
from physioscale.config.strict import load_strict

__all__ = [
    "RunConfig",
    "AcceptsConfig",
    "LoadConfig",
    "DataConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "SelectConfig",
    "TrainerConfig",
    "TrackingConfig",
    "RunFolderConfig",
    "check_run",
    "num_ranks",
    "config_hash",
    "to_yaml",
    "Setting",
    "parse_overrides",
    "read_yaml_settings",
    "load_strict",
    "ConfigurationError",
    "raise_together",
]
