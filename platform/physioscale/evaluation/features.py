"""Pooled features of every window of some streams, from a frozen encoder.

In:  a PretrainingModule, streams of the evaluation's shard sets.
Out: (N, D) float32, windows in the streams' order, then by window number.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from physioscale.config import RunConfig
from physioscale.contract import SPLITS, open_shard_set
from physioscale.errors import InputError
from physioscale.streaming import Stream, open_stream
from physioscale.training import PretrainingModule

IntArray = NDArray[np.int64]


def open_streams(config: RunConfig, *, all_splits: bool) -> list[Stream]:
    """Open a stream per split; without `all_splits` those that have no recording are left out.

    Raises:
        InputError: as `open_stream`.
    """
    shard_sets = [open_shard_set(path) for path in config.data.shards]
    splits = [
        split
        for split in SPLITS
        if all_splits
        or any(split in shard_set.recordings["split"].to_pylist() for shard_set in shard_sets)
    ]
    return [open_stream(config, split=split) for split in splits]


def recording_of_windows(streams: Sequence[Stream]) -> IntArray:
    """Return (N,) the place of each window's recording among the recordings of all streams."""
    places = []
    first = 0
    for stream in streams:
        windows = np.arange(stream.num_windows, dtype=np.int64)
        places.append(first + stream.table.run_recording[stream.table.runs_of(windows)])
        first += len(stream.recordings)
    return np.concatenate(places)


def encode_windows(
    module: PretrainingModule,
    streams: Sequence[Stream],
    *,
    batch: int,
    device: torch.device,
    on_windows: Callable[[int], None],
) -> NDArray[np.float32]:
    """Return the pooled features (N, D) of all windows; `on_windows` is told how many are done.

    Raises:
        InputError: the encoder gives values that are not finite.
    """
    module.to(device).eval()
    parts = [_encode_stream(module, stream, batch, device, on_windows) for stream in streams]
    features = np.concatenate(parts)
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        raise InputError(
            "features",
            found=f"values that are not finite in {bad} of {len(features)} windows",
            expected="finite features of every window",
            do="Look at the loss in the run's metrics.jsonl: the training may have diverged.",
        )
    return features


def _encode_stream(
    module: PretrainingModule,
    stream: Stream,
    batch: int,
    device: torch.device,
    on_windows: Callable[[int], None],
) -> NDArray[np.float32]:
    features: NDArray[np.float32] | None = None
    for windows in stream.ordered_loader(batch=batch):
        # Around the encoder only: buffers that the loader makes must stay writable for its threads.
        with torch.inference_mode():
            pooled = module.encode(module.load_pipeline(windows.to(device))).pooled
        values = pooled.float().cpu().numpy()
        if features is None:
            features = np.full((stream.num_windows, values.shape[1]), np.nan, dtype=np.float32)
        features[windows.window_ids] = values
        on_windows(len(windows))
    assert features is not None, "a stream has at least one window"
    return features
