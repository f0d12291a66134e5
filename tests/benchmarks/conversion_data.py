"""Recordings for the conversion benchmark, and what MNE with exact padding makes of them.

MNE's default resampling pads to a power of two; where that is no whole number of output samples,
its result is shifted and stretched. The reference pads by whole periods of the ratio instead.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from physioscale.testing import generate_eeg, spread_positions, write_edf

FloatArray = NDArray[np.float64]

TARGET_HZ = 200
LOW_HZ, HIGH_HZ, LINE_HZ = 0.5, 99.5, 50.0
SEGMENT_S = 60
REFERENCE_CHANNELS = 6

# Names of the extended 10-20 system, so that a converter knows them.
_ROWS = ("Fp", "AF", "F", "FC", "C", "CP", "P", "PO", "O")
_COLUMNS = ("z", "1", "2", "3", "4", "5", "6", "7", "8")
_MISSING = {"Fp3", "Fp4", "Fp5", "Fp6", "Fp7", "Fp8", "AF1", "AF2", "AF5", "AF6"}
_MISSING |= {"FC7", "FC8", "C7", "C8", "CP7", "CP8", "PO1", "PO2", "PO5", "PO6"}
_MISSING |= {"O3", "O4", "O5", "O6", "O7", "O8"}
LABELS = [
    name for row in _ROWS for column in _COLUMNS if (name := row + column) not in _MISSING
] + ["T7", "T8", "TP7", "TP8", "FT7", "FT8", "TP9", "TP10", "F9", "F10", "P9", "P10"]


@dataclass(frozen=True)
class Corpus:
    """Recordings of one kind, one for each subject."""

    name: str
    num_recordings: int
    sampling_rate_hz: int
    num_channels: int
    duration_s: int
    """Of each recording."""
    suffix: str

    @property
    def num_times(self) -> int:
        """Source samples of a channel of one recording."""
        return self.sampling_rate_hz * self.duration_s

    @property
    def channel_hours(self) -> float:
        """Hours of signal, all channels together."""
        return self.num_recordings * self.num_channels * self.duration_s / 3600

    def root(self, folder: Path) -> Path:
        """Return the corpus folder."""
        return folder / "corpora" / self.name

    def paths(self, folder: Path) -> list[Path]:
        """Return the files of the recordings."""
        root = self.root(folder)
        return [root / subject / f"rest.{self.suffix}" for subject in self.subjects]

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return [f"subject{number:02d}" for number in range(1, self.num_recordings + 1)]

    def reference(self, folder: Path) -> Path:
        """Return the file of the reference: first recording, first channels, (C, T) float64 V."""
        return folder / "reference" / f"{self.name}.npy"


def corpora(*, quick: bool) -> list[Corpus]:
    """Return the corpora that contenders convert.

    The lengths are kind to MNE: from 35 minutes on, its padding of 250 Hz leads to an FFT whose
    length has a large prime factor, and takes three times as long.
    """
    part = 5 if quick else 1
    return [
        Corpus("512hz-32ch", 4, 512, 32, 1200 // part, "edf"),
        Corpus("250hz-19ch", 6, 250, 19, 1800 // part, "edf"),
        Corpus("1024hz-64ch", 2, 1024, 64, 600 // part, "bdf"),
    ]


def longer(corpus: Corpus) -> Corpus:
    """Return a corpus of one recording like this one's, four times as long."""
    return dataclasses.replace(
        corpus, name=f"{corpus.name}-long", num_recordings=1, duration_s=4 * corpus.duration_s
    )


WARM_UP = Corpus("warm-up", 1, 256, 4, 60, "edf")


def write_corpus(corpus: Corpus, folder: Path) -> None:
    """Write the recordings; each repeats its own 5 minutes, which no filter gains from."""
    tile_s = min(corpus.duration_s, 300)
    for number, path in enumerate(corpus.paths(folder)):
        tile_uv = generate_eeg(
            spread_positions(corpus.num_channels),
            duration_s=tile_s,
            sampling_rate_hz=corpus.sampling_rate_hz,
            seed=number,
            eyes_closed=True,
            line_hz=LINE_HZ,
        )
        signal_uv = np.tile(tile_uv, (1, -(-corpus.duration_s // tile_s)))
        write_edf(
            path,
            signal_uv[:, : corpus.num_times],
            labels=[f"EEG {label}-REF" for label in LABELS[: corpus.num_channels]],
            sampling_rate_hz=corpus.sampling_rate_hz,
            kind="bdf" if corpus.suffix == "bdf" else "edf",
        )


def write_reference(corpus: Corpus, folder: Path) -> None:
    """Write what MNE makes of the first channels when it pads by whole output samples."""
    import mne

    rate_hz = corpus.sampling_rate_hz
    raw = mne.io.read_raw(corpus.paths(folder)[0], verbose="error")
    source_v = raw.get_data(picks=range(min(REFERENCE_CHANNELS, corpus.num_channels)))
    filtered = mne.filter.filter_data(source_v, rate_hz, LOW_HZ, HIGH_HZ, verbose="error")
    notched = mne.filter.notch_filter(filtered, rate_hz, line_frequencies(rate_hz), verbose="error")
    down = rate_hz // int(np.gcd(rate_hz, TARGET_HZ))
    resampled = mne.filter.resample(
        notched, up=TARGET_HZ, down=rate_hz, npad=40 * down, pad="reflect_limited", verbose="error"
    )
    path = corpus.reference(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, resampled)


def line_frequencies(sampling_rate_hz: float) -> FloatArray:
    """Return the line frequency and its multiples below half the rate."""
    return np.arange(LINE_HZ, sampling_rate_hz / 2 - 1, LINE_HZ)


def relative_rms(found: FloatArray, expected: FloatArray) -> float:
    """Return the relative RMS of the difference in 1-90 Hz, two seconds at the ends left out."""
    inner = slice(2 * TARGET_HZ, -2 * TARGET_HZ)
    taper = np.hanning(expected[:, inner].shape[1])
    difference = np.fft.rfft((found - expected)[:, inner] * taper)
    reference = np.fft.rfft(expected[:, inner] * taper)
    frequency_hz = np.fft.rfftfreq(len(taper), 1 / TARGET_HZ)
    band = (frequency_hz >= 1) & (frequency_hz <= 90)
    norm = np.linalg.norm(difference[:, band]) / np.linalg.norm(reference[:, band])
    return float(norm)
