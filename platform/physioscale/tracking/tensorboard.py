"""TensorBoard as a view: a scalar per metric over the global step, in `<run>/tensorboard`."""

from collections.abc import Sequence

from physioscale.tracking.rows import Row
from physioscale.tracking.views import Launch

FOLDER = "tensorboard"
_NOT_SCALARS = ("step", "attempt")


class TensorBoardView:
    """Writes event files."""

    def __init__(self, launch: Launch) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Events of steps that are taken again are hidden.
        purge = launch.first_step + 1 if launch.first_step else None
        self._writer = SummaryWriter(log_dir=str(launch.folder / FOLDER), purge_step=purge)

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name, value in row.items():
                if name not in _NOT_SCALARS and isinstance(value, int | float):
                    self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
