"""The contenders of the streaming benchmark; run as `... CONTENDER SHAPE ROOT [--quick]`.

All hand out shuffled batches of 32 windows as float32; the consumer does nothing with them.

- webdataset: shuffled shards, a buffer of 1000 samples, `decode()`, batched in 2 workers.
- h5py: a chunk per window, a random permutation, DataLoader with 2 workers.
- npy: a memory-mapped array, a random permutation, DataLoader with 2 workers or in this process.
- physioscale: windows cut from 60 s segments, exact order, checksums on, 1 or 2 reader threads.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tests.benchmarks.contenders import Answer, cpu_seconds, serve
from tests.benchmarks.streaming_data import BATCH, Shape, shapes

_SHUFFLE_BUFFER = 1000
_RESUME_AT = 0.9


class Source(Protocol):
    """Where a contender's batches come from."""

    def batches(self) -> Iterator[torch.Tensor]:
        """Yield batches (B, C, T) float32, epoch after epoch, without end."""
        ...

    def resume(self) -> torch.Tensor:
        """Open everything and return the first batch at 90 % of an epoch."""
        ...


class Webdataset:
    """Tar shards read by webdataset."""

    def __init__(self, shape: Shape, root: Path, *, workers: int) -> None:
        self._shape, self._workers = shape, workers
        self._urls = sorted(str(path) for path in shape.folder(root).glob("windows-*.tar"))

    def batches(self) -> Iterator[torch.Tensor]:
        """See `Source`."""
        import webdataset

        dataset = (
            webdataset.WebDataset(self._urls, shardshuffle=len(self._urls), empty_check=False)
            .shuffle(_SHUFFLE_BUFFER)
            .decode()
            .map(_decoded)
            .batched(BATCH, collation_fn=_stacked, partial=False)
            .repeat()
        )
        return iter(webdataset.WebLoader(dataset, batch_size=None, num_workers=self._workers))

    def resume(self) -> torch.Tensor:
        """Read and drop, as webdataset has no index; nothing is decoded before its time."""
        import webdataset

        dataset = webdataset.WebDataset(self._urls, shardshuffle=len(self._urls))
        skipped = _resume_step(self._shape) * BATCH
        rest = islice(iter(dataset), skipped, skipped + BATCH)
        decoder = webdataset.autodecode.Decoder([])
        return _stacked([_decoded(decoder(one)) for one in rest])


def _decoded(sample: dict[str, Any]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = sample["signal.npy"] * sample["scale.npy"]
    return values


def _stacked(samples: list[NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(samples))


class Array(torch.utils.data.Dataset[torch.Tensor]):
    """Windows in an HDF5 file or a memory-mapped array, opened where they are read."""

    def __init__(self, shape: Shape, root: Path, *, kind: str) -> None:
        self._shape, self._folder, self._kind = shape, shape.folder(root), kind
        self._signal: Any = None
        self._scale: Any = None

    def __len__(self) -> int:
        return self._shape.num_windows

    def __getitem__(self, number: int) -> torch.Tensor:
        if self._signal is None:
            self._open()
        return torch.from_numpy(self._signal[number] * self._scale[number])

    def _open(self) -> None:
        if self._kind == "h5py":
            file = import_module("h5py").File(self._folder / "windows.h5")
            self._signal, self._scale = file["signal"], file["scale"][:]
        else:
            self._signal = np.load(self._folder / "windows.npy", mmap_mode="r")
            self._scale = np.load(self._folder / "scales.npy")


class Arrays:
    """An `Array` behind torch's DataLoader."""

    def __init__(self, shape: Shape, root: Path, *, kind: str, workers: int) -> None:
        self._shape, self._root, self._kind, self._workers = shape, root, kind, workers

    def batches(self) -> Iterator[torch.Tensor]:
        """See `Source`."""
        dataset = Array(self._shape, self._root, kind=self._kind)
        sampler = torch.utils.data.RandomSampler(dataset, num_samples=10**6 * len(dataset))
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=BATCH, sampler=sampler, num_workers=self._workers
        )
        return iter(loader)

    def resume(self) -> torch.Tensor:
        """Start the permutation late."""
        dataset = Array(self._shape, self._root, kind=self._kind)
        order = torch.randperm(len(dataset)).tolist()[_resume_step(self._shape) * BATCH :]
        loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, sampler=order)
        first: torch.Tensor = next(iter(loader))
        return first


class Physioscale:
    """A shard set read by `physioscale.streaming`."""

    def __init__(self, shape: Shape, root: Path, *, threads: int) -> None:
        from physioscale.config import DataConfig, RunConfig

        folder = shape.folder(root)
        self._shape = shape
        self._config = RunConfig(
            recipe="benchmark",
            variant="benchmark",
            stage="pretrain",
            model=None,
            objective=None,
            data=DataConfig(
                shards=[str(folder / "shards")],
                window_s=shape.window_s,
                batch_samples=BATCH,
                reader_threads=threads,
                cache_dir=str(folder / f"cache-{threads}"),
            ),
        )

    def batches(self) -> Iterator[torch.Tensor]:
        """See `Source`."""
        return self._from_step(0)

    def resume(self) -> torch.Tensor:
        """Open the stream as after a restart; the compact index is there, as it would be."""
        return next(self._from_step(_resume_step(self._shape)))

    def _from_step(self, step: int) -> Iterator[torch.Tensor]:
        from physioscale.streaming import open_stream

        stream = open_stream(self._config, split="train")
        assert stream.num_windows == self._shape.num_windows
        with stream.train_loader(first_step=step, last_step=10**9) as loader:
            for batch in loader:
                yield batch.signal


def _resume_step(shape: Shape) -> int:
    return int(_RESUME_AT * shape.num_windows) // BATCH


CONTENDERS: dict[str, Callable[[Shape, Path], Source]] = {
    "webdataset, 2 workers": lambda shape, root: Webdataset(shape, root, workers=2),
    "h5py, 2 workers": lambda shape, root: Arrays(shape, root, kind="h5py", workers=2),
    "npy, 2 workers": lambda shape, root: Arrays(shape, root, kind="npy", workers=2),
    "npy, in process": lambda shape, root: Arrays(shape, root, kind="npy", workers=0),
    "physioscale, 1 thread": lambda shape, root: Physioscale(shape, root, threads=1),
    "physioscale, 2 threads": lambda shape, root: Physioscale(shape, root, threads=2),
}


def main() -> None:
    """Warm up, then answer `run` and `resume`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("shape")
    parser.add_argument("root", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    shape = next(one for one in shapes(quick=arguments.quick) if one.name == arguments.shape)
    source = CONTENDERS[arguments.contender](shape, arguments.root)
    warm_s, timed_s = (0.3, 0.5) if arguments.quick else (0.3, 1.0)

    def run() -> Answer:
        batches = source.batches()
        _consume(batches, warm_s, shape=shape)
        cpu_s = cpu_seconds()
        num_windows, wall_s = _consume(batches, timed_s, shape=shape)
        cpu_s = cpu_seconds() - cpu_s
        return {"windows_per_s": num_windows / wall_s, "cpu_s_per_1k": 1000 * cpu_s / num_windows}

    def resume() -> Answer:
        begun_s = time.perf_counter()
        batch = source.resume()
        wall_s = time.perf_counter() - begun_s
        _check(batch, shape)
        return {"resume_s": wall_s}

    def warm_up() -> None:
        _consume(source.batches(), 0.0, shape=shape)
        resume()

    serve({"run": run, "resume": resume}, warm_up=warm_up)


def _consume(batches: Iterator[torch.Tensor], least_s: float, *, shape: Shape) -> tuple[int, float]:
    """Take batches for so long; return how many windows they held and how long it took."""
    num_windows, begun_s = 0, time.perf_counter()
    for batch in batches:
        _check(batch, shape)
        num_windows += len(batch)
        if time.perf_counter() - begun_s >= least_s:
            break
    return num_windows, time.perf_counter() - begun_s


def _check(batch: torch.Tensor, shape: Shape) -> None:
    size = (BATCH, shape.num_channels, shape.num_times)
    assert batch.shape == size, batch.shape
    assert batch.dtype == torch.float32, batch.dtype


if __name__ == "__main__":
    main()
