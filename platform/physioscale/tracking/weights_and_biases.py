"""Weights & Biases as a view, offline (synced later with `wandb sync`) or online.

The id of the W&B run is kept in the run folder, so that every launch goes on with the same one. The
axis is our own `step`: W&B drops what comes for an earlier value of its internal one, as after a
launch that went back to a checkpoint. Offline files are in `<run>/wandb/attempt-N/wandb`.
"""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from physioscale.config import to_yaml
from physioscale.contract import publish_bytes
from physioscale.tracking.rows import Row
from physioscale.tracking.views import Launch

ID_FILE = "wandb.json"


class WandbView:
    """Logs rows to one W&B run."""

    def __init__(self, launch: Launch) -> None:
        import wandb

        config = launch.config
        mode: Any = config.tracking.wandb
        # W&B names its folder by the second and overwrites one of that name.
        place = launch.folder / "wandb" / f"attempt-{launch.attempt}"
        place.mkdir(parents=True, exist_ok=True)
        values: Any = OmegaConf.to_container(OmegaConf.create(to_yaml(config)))
        self._run = wandb.init(
            project=config.tracking.wandb_project,
            id=stored_id(launch.folder),
            name=launch.folder.name,
            dir=place,
            mode=mode,
            resume="allow",
            config=values,
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._run.log(row)

    def close(self) -> None:
        self._run.finish()


def stored_id(folder: Path) -> str:
    """Return the W&B id of the run in `folder`; the first call makes one and keeps it there."""
    path = folder / ID_FILE
    if not path.is_file():
        publish_bytes(path, f"{json.dumps({'id': secrets.token_hex(6)})}\n".encode())
    stored: str = json.loads(path.read_text(encoding="utf-8"))["id"]
    return stored
