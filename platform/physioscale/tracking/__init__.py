"""Figures of a run: metrics.jsonl is the truth; TensorBoard, W&B and the console are its views."""

from physioscale.tracking.rows import Row, RowWriter, read_rows
from physioscale.tracking.tensorboard import TensorBoardView
from physioscale.tracking.views import Launch, View, ViewFactory, Views
from physioscale.tracking.weights_and_biases import WandbView

__all__ = [
    "Launch",
    "Row",
    "RowWriter",
    "TensorBoardView",
    "View",
    "ViewFactory",
    "Views",
    "WandbView",
    "read_rows",
]
