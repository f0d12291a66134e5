"""Conversions of small corpora, and their segments as plain webdataset reads them."""

import gc
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray

from physioscale.config.settings import parse_overrides
from physioscale_sharding.convert import Outcome, Task, convert_corpus
from physioscale_sharding.corpus import load_definition
from physioscale_sharding.profile import load_profile
from physioscale_sharding.request import Request

Convert = Callable[..., Outcome]
Segments = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def convert() -> Convert:
    """Return a function that converts a corpus folder in this process."""

    def run(
        root: Path,
        out: Path,
        *,
        profile: str = "eeg-wide",
        overrides: Sequence[str] = (),
        definition: str = "folder",
        name: str = "synthetic",
        pattern: str | None = None,
        key: bytes = b"physioscale",
        workers: int = 1,
        task: Task | None = None,
    ) -> Outcome:
        request = Request(
            root=root,
            definition=load_definition(definition),
            corpus=name,
            profile=load_profile(profile, overrides=parse_overrides(overrides)),
            subject_pattern=pattern,
            key=key,
        )
        return convert_corpus(request, out=out, num_workers=workers, task=task)

    return run


@pytest.fixture
def segments() -> Segments:
    """Return a function that reads a shard set with webdataset alone, in order of the keys."""

    def read(out: Path) -> list[dict[str, Any]]:
        shards = [str(path) for path in sorted(out.glob("*.tar"))]
        with warnings.catch_warnings():
            # webdataset leaves closing its files to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
            gc.collect()
        for sample in samples:
            sample["values"] = _decoded(sample["signal.npy"], sample["meta.json"])
        return sorted(samples, key=lambda sample: str(sample["__key__"]))

    return read


def _decoded(stored: NDArray[Any], meta: dict[str, Any]) -> NDArray[np.float64]:
    return np.asarray(stored * np.array(meta["scale"]) + np.array(meta["offset"]))
