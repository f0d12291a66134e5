"""Windows for the streaming benchmark, as physioscale and its peers store them.

physioscale gets a shard set of 60 s segments and cuts windows out of them; the peers get the same
number of windows of the same size, one stored sample each, int16 with a scale per channel (or
float32). What is in the samples does not matter to any of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

BATCH = 32
_WEBDATASET_SHARD_BYTES = 32e6


@dataclass(frozen=True)
class Shape:
    """Windows of one shape."""

    name: str
    num_channels: int
    sampling_rate_hz: float
    window_s: float
    dtype: str
    num_recordings: int
    windows_per_recording: int

    @property
    def num_times(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.sampling_rate_hz)

    @property
    def num_windows(self) -> int:
        """Windows of an epoch, a multiple of the batch."""
        return self.num_recordings * self.windows_per_recording

    def folder(self, root: Path) -> Path:
        """Return where its data lies."""
        return root / self.name


def shapes(*, quick: bool) -> list[Shape]:
    """Return the shapes: 19 x 2000, 12 x 5000, 64 x 6000 and 400 x 490."""
    few = 2 if quick else 4
    return [
        Shape("19x2000 int16", 19, 200.0, 10.0, "int16", few, 256),
        Shape("12x5000 int16", 12, 500.0, 10.0, "int16", few, 160),
        Shape("64x6000 int16", 64, 200.0, 30.0, "int16", few, 32),
        Shape("400x490 float32", 400, 49.0, 10.0, "float32", few, 32),
    ]


def write_data(shape: Shape, root: Path) -> None:
    """Write a shape's windows for every contender."""
    folder = shape.folder(root)
    folder.mkdir(parents=True)
    truth = write_shard_set(
        folder / "shards",
        recordings=[
            SyntheticRecording(
                f"subject{number:02d}",
                num_channels=shape.num_channels,
                sampling_rate_hz=shape.sampling_rate_hz,
                run_s=(shape.windows_per_recording * shape.window_s,),
            )
            for number in range(shape.num_recordings)
        ],
        dtype=shape.dtype,
        segments_per_shard=32,
    )
    runs = [stored.runs[0] for stored in truth.recordings]
    _write_arrays(shape, runs, folder)
    _write_webdataset(shape, runs, folder)


def _windows(
    shape: Shape, runs: list[NDArray[np.float32]]
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32]]]:
    """Yield stored windows (C, T) with their scale (C, 1)."""
    for run in runs:
        for start in range(0, len(run), shape.num_times):
            values = run[start : start + shape.num_times].T
            scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(32767)
            if shape.dtype == "float32":
                yield np.ascontiguousarray(values), np.ones_like(scale)
            else:
                yield np.rint(values / scale).astype(np.int16), scale


def _write_arrays(shape: Shape, runs: list[NDArray[np.float32]], folder: Path) -> None:
    # By name: the environment of the other checks does not have it.
    h5py = import_module("h5py")
    size = (shape.num_windows, shape.num_channels, shape.num_times)
    flat = np.lib.format.open_memmap(
        folder / "windows.npy", mode="w+", dtype=shape.dtype, shape=size
    )
    scales = np.empty((*size[:2], 1), dtype=np.float32)
    with h5py.File(folder / "windows.h5", "w") as file:
        chunked = file.create_dataset("signal", size, shape.dtype, chunks=(1, *size[1:]))
        for number, (window, scale) in enumerate(_windows(shape, runs)):
            flat[number] = chunked[number] = window
            scales[number] = scale
        file["scale"] = scales
    flat.flush()
    np.save(folder / "scales.npy", scales)


def _write_webdataset(shape: Shape, runs: list[NDArray[np.float32]], folder: Path) -> None:
    import webdataset

    pattern = str(folder / "windows-%06d.tar")
    with webdataset.ShardWriter(pattern, maxsize=_WEBDATASET_SHARD_BYTES, verbose=0) as writer:
        for number, (window, scale) in enumerate(_windows(shape, runs)):
            writer.write(
                {"__key__": f"window{number:06d}", "signal.npy": window, "scale.npy": scale}
            )
