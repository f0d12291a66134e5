"""Shared pieces of the streaming tests: a run configuration without a recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from physioscale.config import AcceptsConfig, DataConfig, LoadConfig, RunConfig


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Return a builder of configurations: `make_config(folder, data={...}, load={...})`."""

    def build(
        *folders: Path,
        seed: int = 0,
        data: dict[str, Any] | None = None,
        load: dict[str, Any] | None = None,
        accepts: dict[str, Any] | None = None,
    ) -> RunConfig:
        settings = {"window_s": 4.0, "batch_samples": 8, "cache_dir": str(tmp_path / "cache")}
        return RunConfig(
            recipe="none",
            variant="none",
            stage="none",
            model=None,
            objective=None,
            seed=seed,
            data=DataConfig(shards=[str(f) for f in folders], **{**settings, **(data or {})}),
            load=LoadConfig(**(load or {})),
            accepts=AcceptsConfig(**(accepts or {})),
        )

    return build
