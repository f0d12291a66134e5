"""Shared pieces of the streaming tests: a run configuration without a recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from physioscale.config import RunConfig
from physioscale.testing.streams import stream_config


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Return a builder of configurations: `make_config(folder, data={...}, load={...})`."""

    def build(*folders: Path, **settings: Any) -> RunConfig:
        return stream_config(*folders, cache_dir=tmp_path / "cache", **settings)

    return build
