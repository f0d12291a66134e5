"""Streaming of shard sets: exact order, elastic resume, windows read by one `pread`.

`open_stream` gives the windows of a split; `Stream.train_loader` the batches of a range of global
steps, `Stream.ordered_loader` every window once; `LoadPipeline` finishes a batch on its device.
"""

from physioscale.streaming.acceptance import check_accepts
from physioscale.streaming.batch import Batch
from physioscale.streaming.load import LoadPipeline
from physioscale.streaming.order import Plan
from physioscale.streaming.reader import DamagedShardError
from physioscale.streaming.selection import StreamRecording
from physioscale.streaming.stream import OrderedLoader, StepLoader, Stream, open_stream

__all__ = [
    "Batch",
    "DamagedShardError",
    "LoadPipeline",
    "OrderedLoader",
    "Plan",
    "StepLoader",
    "Stream",
    "StreamRecording",
    "check_accepts",
    "open_stream",
]
