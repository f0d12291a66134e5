"""Typed configuration of a run: dataclasses, and strict loading of YAML onto them."""

from physioscale.config.run import (
    AcceptsConfig,
    DataConfig,
    LoadConfig,
    OptimizerConfig,
    RunConfig,
    RunFolderConfig,
    ScheduleConfig,
    TrackingConfig,
    TrainerConfig,
)

__all__ = [
    "AcceptsConfig",
    "DataConfig",
    "LoadConfig",
    "OptimizerConfig",
    "RunConfig",
    "RunFolderConfig",
    "ScheduleConfig",
    "TrackingConfig",
    "TrainerConfig",
]
