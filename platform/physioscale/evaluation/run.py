"""The evaluation from a checkpoint to a table: streams, probes, figures.

Pretrained and randomly initialised encoders of the same architecture answer the same windows under
the same folds, so that their difference can be taken subject by subject.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from physioscale.config import DataConfig, RunConfig
from physioscale.errors import InputError
from physioscale.evaluation.checkpoint import Checkpoint, trained_module, untrained_module
from physioscale.evaluation.features import encode_windows, open_streams
from physioscale.evaluation.folds import SPLIT, check_folds
from physioscale.evaluation.leakage import Leakage, find_leakage, refuse_leakage, trained_on
from physioscale.evaluation.metrics import METRICS
from physioscale.evaluation.result import (
    EncoderResult,
    EvaluationResult,
    Figure,
    make_difference,
    make_figure,
)
from physioscale.evaluation.task import ProbeTask, SeedResult, make_task, probe_seed
from physioscale.streaming import Stream
from physioscale.training import PretrainingModule

FloatArray = NDArray[np.float64]

PRETRAINED = "pretrained"
RANDOM = "random"

Advance = Callable[[int], None]
Track = Callable[[str, int], AbstractContextManager[Advance]]
"""(name of a job, its windows or probes) -> a context with a function that is told of progress."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked of an encoder."""

    label: str = "task"
    """Label of the recordings that the probe predicts."""
    folds: str = SPLIT
    """split, leave-one-subject-out, or a number of folds."""
    seeds: int = 3
    """Random initialisations of the baseline, and draws of folds and validation subjects."""
    random_baseline: bool = True
    """Whether the same architecture without training is probed as well."""
    allow_overlap: bool = False
    """Whether test subjects that pretraining has seen are taken, and marked."""
    batch: int = 64
    """Windows encoded at once."""


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    shards: Sequence[Path | str],
    *,
    settings: EvaluationSettings,
    device: torch.device | str = "cpu",
    announce: Callable[[str], None] = lambda line: None,
    track: Track = lambda what, total: nullcontext(lambda done: None),
) -> EvaluationResult:
    """Probe the frozen encoder of a checkpoint on labelled shards.

    Args:
        checkpoint: from `find_checkpoint`.
        shards: shard-set folders with the labels.
        settings: what to ask.
        device: where the encoder runs.
        announce: given lines about what is read.
        track: asked for a progress function at the start of each long job.

    Raises:
        InputError: shards that the recipe does not accept, an unknown label, fewer than two
            classes, a class without training windows, an empty split, or test subjects that
            pretraining has seen.
    """
    _check_settings(settings)
    streams = open_streams(_config(checkpoint, shards), all_splits=settings.folds == SPLIT)
    try:
        task = make_task(streams, label=settings.label, folds=settings.folds, seeds=settings.seeds)
        leakage = find_leakage(trained_on(checkpoint), streams[0].shard_sets, task.recordings)
        if not settings.allow_overlap:
            refuse_leakage(leakage, checkpoint)
        for line in [line for stream in streams for line in stream.describe()]:
            announce(line)
        probed: dict[str, list[SeedResult]] = {}
        for name, module, seeds in _encoders(checkpoint, settings):
            found = _probe(
                module, streams, task, seeds, settings.batch, torch.device(device), track
            )
            probed.setdefault(name, []).extend(found)
    finally:
        for stream in streams:
            stream.close()
    return _result(checkpoint, settings, task, leakage, streams, probed)


def _check_settings(settings: EvaluationSettings) -> None:
    check_folds(settings.folds)
    for name, value in (("seeds", settings.seeds), ("batch", settings.batch)):
        if value < 1:
            raise InputError(
                f"--{name}", found=str(value), expected="at least 1", do="Leave it out."
            )


def _config(checkpoint: Checkpoint, shards: Sequence[Path | str]) -> RunConfig:
    """Return the run's configuration, reading other shards: all of them, every window once.

    What the pretraining selected, weighted or forgave is not taken over: it spoke of its shards.
    """
    trained = checkpoint.config.data
    data = DataConfig(
        shards=[str(path) for path in shards],
        window_s=trained.window_s,
        reader_threads=trained.reader_threads,
        ring_batches=trained.ring_batches,
        cache_dir=trained.cache_dir,
    )
    return dataclasses.replace(checkpoint.config, data=data)


def _encoders(
    checkpoint: Checkpoint, settings: EvaluationSettings
) -> Iterator[tuple[str, PretrainingModule, Sequence[int]]]:
    """Yield each encoder with the seeds it is probed under, one at a time in memory."""
    # The shard set's own splits are the same under every seed, and a probe is deterministic.
    seeds = range(1 if settings.folds == SPLIT else settings.seeds)
    yield PRETRAINED, trained_module(checkpoint), seeds
    if settings.random_baseline:
        for seed in range(settings.seeds):
            yield RANDOM, untrained_module(checkpoint, seed=seed), [seed]


def _probe(
    module: PretrainingModule,
    streams: Sequence[Stream],
    task: ProbeTask,
    seeds: Sequence[int],
    batch: int,
    device: torch.device,
    track: Track,
) -> list[SeedResult]:
    with track("encode", sum(stream.num_windows for stream in streams)) as advance:
        features = encode_windows(module, streams, batch=batch, device=device, on_windows=advance)
    found = []
    with track("probe", sum(len(task.folds[seed]) for seed in seeds)) as advance:
        for seed in seeds:
            found.append(probe_seed(features, task, seed=seed))
            advance(len(task.folds[seed]))
    return found


def _result(
    checkpoint: Checkpoint,
    settings: EvaluationSettings,
    task: ProbeTask,
    leakage: Leakage,
    streams: Sequence[Stream],
    probed: Mapping[str, Sequence[SeedResult]],
) -> EvaluationResult:
    problem = task.problem
    counts = Counter(problem.class_of.tolist())
    infos = [shard_set.info for shard_set in streams[0].shard_sets]
    return EvaluationResult(
        recipe=checkpoint.config.recipe,
        variant=checkpoint.config.variant,
        step=checkpoint.step,
        label=settings.label,
        folds=settings.folds,
        classes={name: counts[number] for number, name in enumerate(problem.classes)},
        subjects=len(np.unique(problem.subject_of)),
        tested_subjects=len(task.tested_subjects),
        tested_windows=len(task.tested),
        unlabelled_windows=problem.unlabelled,
        shard_sets=tuple({"corpus": info.corpus, "checksum": info.checksum} for info in infos),
        leakage=leakage,
        encoders=tuple(_summary(name, found) for name, found in probed.items()),
        gain=_gain(probed),
    )


def _summary(name: str, found: Sequence[SeedResult]) -> EncoderResult:
    return EncoderResult(
        name=name,
        seeds=tuple(one.seed for one in found),
        figures={
            metric: make_figure(_points(found, metric), _resampled(found, metric))
            for metric in METRICS
        },
        folds=tuple(fold for one in found for fold in one.folds),
    )


def _gain(probed: Mapping[str, Sequence[SeedResult]]) -> dict[str, Figure] | None:
    if RANDOM not in probed:
        return None
    trained, random = probed[PRETRAINED], probed[RANDOM]
    return {
        metric: make_difference(
            (_points(trained, metric), _points(random, metric)),
            (_resampled(trained, metric), _resampled(random, metric)),
        )
        for metric in METRICS
    }


def _points(found: Sequence[SeedResult], metric: str) -> list[float]:
    return [one.points[metric] for one in found]


def _resampled(found: Sequence[SeedResult], metric: str) -> list[FloatArray]:
    return [one.resampled[metric] for one in found if one.resampled]
