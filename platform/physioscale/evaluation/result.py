"""What an evaluation found: figures with their spread, as a table and as JSON.

A figure is the mean over seeds of a metric on the pooled answers of all test windows. Its interval
is the 2.5 to 97.5 % range over resamples of the tested subjects; its spread the standard deviation
over seeds, where there are several.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physioscale.evaluation.leakage import Leakage
from physioscale.evaluation.metrics import METRICS

FloatArray = NDArray[np.float64]

TITLES = {"balanced_accuracy": "balanced accuracy", "kappa": "Cohen's kappa", "auroc": "AUROC"}
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Figure:
    """A metric; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    seed_std: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "n/a"
        text = f"{self.value:.3f}"
        if self.low is not None and self.high is not None:
            text += f" [{self.low:.3f}, {self.high:.3f}]"
        return text if self.seed_std is None else f"{text} sd {self.seed_std:.3f}"


@dataclass(frozen=True)
class FoldResult:
    """One fitted probe."""

    seed: int
    fold: str
    windows: int
    strength: float
    converged: bool
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class EncoderResult:
    """All probes of one encoder."""

    name: str
    seeds: tuple[int, ...]
    figures: Mapping[str, Figure]
    folds: tuple[FoldResult, ...]


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation: what was asked, of whom, and what came out."""

    recipe: str
    variant: str
    step: int
    label: str
    folds: str
    classes: Mapping[str, int]
    """Labelled windows of each class."""
    subjects: int
    """Subjects with labelled windows."""
    tested_subjects: int
    tested_windows: int
    unlabelled_windows: int
    shard_sets: tuple[Mapping[str, str], ...]
    """Corpus and checksum of each."""
    leakage: Leakage
    encoders: tuple[EncoderResult, ...]
    gain: Mapping[str, Figure] | None
    """Pretrained minus random, with the interval of the paired difference."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; the same evaluation gives the same ones."""
        return {**asdict(self), "leakage": self.leakage.to_json()}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the columns and rows that are printed."""
        rows = [[one.name, *(str(one.figures[name]) for name in METRICS)] for one in self.encoders]
        if self.gain is not None:
            rows.append(["pretrained - random", *(str(self.gain[name]) for name in METRICS)])
        return ["encoder", *(TITLES[name] for name in METRICS)], rows

    def describe(self) -> list[str]:
        """Return the lines that belong under the table."""
        counts = ", ".join(f"{name} {count}" for name, count in self.classes.items())
        lines = [
            f"{self.tested_windows} test windows of {self.tested_subjects} subjects; "
            f"all windows by class: {counts}",
            "mean over seeds [95 % interval over resampled subjects], sd over seeds",
        ]
        if self.unlabelled_windows:
            lines.append(f"left out: {self.unlabelled_windows} windows without label {self.label}")
        unconverged = [fold for one in self.encoders for fold in one.folds if not fold.converged]
        if unconverged:
            total = sum(len(one.folds) for one in self.encoders)
            lines.append(f"{len(unconverged)} of {total} probes stopped before they converged")
        return [*lines, self.leakage.describe()]


def make_figure(points: Sequence[float], resampled: Sequence[FloatArray]) -> Figure:
    """Return the figure of one metric of one encoder.

    Args:
        points: the metric under each seed.
        resampled: per seed (R,) the metric in each resample; empty where there is one subject.
    """
    finite = [point for point in points if math.isfinite(point)]
    return Figure(
        *_value_and_interval(_mean(points), _mean(resampled)),
        seed_std=float(np.std(finite, ddof=1)) if len(finite) > 1 else None,
    )


def make_difference(
    points: tuple[Sequence[float], Sequence[float]],
    resampled: tuple[Sequence[FloatArray], Sequence[FloatArray]],
) -> Figure:
    """Return the first encoder's figure minus the second's, over the same resamples."""
    first, second = (_mean(side) for side in resampled)
    paired = None if first is None or second is None else first - second
    a, b = (_mean(side) for side in points)
    value = None if a is None or b is None else a - b
    return Figure(*_value_and_interval(value, paired), seed_std=None)


def _mean(values: Sequence[Any]) -> Any:
    """Return the mean over seeds, element by element; None where there is no seed."""
    return np.mean(values, axis=0) if len(values) else None


def _value_and_interval(
    value: Any, resampled: FloatArray | None
) -> tuple[float | None, float | None, float | None]:
    low = high = None
    if resampled is not None and np.isfinite(resampled).any():
        low, high = (float(bound) for bound in np.nanpercentile(resampled, _INTERVAL))
    return (float(value) if value is not None and math.isfinite(value) else None), low, high
