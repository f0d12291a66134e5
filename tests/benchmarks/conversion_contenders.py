"""The contenders of the conversion benchmark; run as `... CONTENDER CORPUS FOLDER [--quick]`.

All read the EDF or BDF files of a corpus, band-pass them at 0.5-99.5 Hz, remove the line, go to
200 Hz and write tar shards of 60 s samples.

- mne: the way most code goes: read_raw, filter, notch_filter, resample, webdataset's ShardWriter
  with float32.
- physioscale: the command `physioscale shard`, whole: plan, checksums, statistics, tables, fsync.
- limit: one FFT per channel over the whole recording, int16 with one scale per channel, tarfile. No
  checksum, no statistics, no gaps, no units, no tables; it shows what the others could save.
"""

import argparse
import contextlib
import gc
import io
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.contenders import Answer, cpu_seconds, peak_mb, reset_peak, serve
from tests.benchmarks.conversion_data import (
    HIGH_HZ,
    LINE_HZ,
    LOW_HZ,
    REFERENCE_CHANNELS,
    SEGMENT_S,
    TARGET_HZ,
    WARM_UP,
    Corpus,
    corpora,
    line_frequencies,
    longer,
    relative_rms,
)

FloatArray = NDArray[np.float64]
Convert = Callable[[Corpus, Path, Path], None]

_SEGMENT = SEGMENT_S * TARGET_HZ
_FIRST = WARM_UP.subjects[0]
# Longer than half of both filters together.
_MARGIN_S = 8


def convert_mne(corpus: Corpus, folder: Path, out: Path) -> None:
    """Convert with MNE and webdataset, as most code does."""
    import mne
    import webdataset

    with webdataset.ShardWriter(str(out / "train-%06d.tar"), verbose=0) as writer:
        for subject, path in zip(corpus.subjects, corpus.paths(folder), strict=True):
            raw = mne.io.read_raw(path, preload=True, verbose="error")
            raw.filter(LOW_HZ, HIGH_HZ, verbose="error")
            raw.notch_filter(line_frequencies(corpus.sampling_rate_hz), verbose="error")
            raw.resample(TARGET_HZ, verbose="error")
            values = raw.get_data()
            for start in range(0, values.shape[1], _SEGMENT):
                segment = values[:, start : start + _SEGMENT].astype(np.float32)
                key = f"{subject}_{start:09d}"
                writer.write({"__key__": key, "npy": segment, "json": raw.ch_names})


def convert_physioscale(corpus: Corpus, folder: Path, out: Path) -> None:
    """Convert with the command, in this process."""
    from physioscale.cli.main import main

    profile = ["--profile", "reve", "--set", f"notch_hz={LINE_HZ:g}", "--set", "subject_ids=public"]
    words = ["shard", str(corpus.root(folder)), "--out", str(out), "--workers", "1", *profile]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = main(words)
    assert status == 0, printed.getvalue()


def convert_limit(corpus: Corpus, folder: Path, out: Path) -> None:
    """Convert with as little as possible."""
    with tarfile.open(out / "train-000000.tar", "w") as tar:
        for subject, path in zip(corpus.subjects, corpus.paths(folder), strict=True):
            digital, gain_v = _read_bare(path, corpus)
            stored, scale = _convert_bare(digital, corpus)
            facts = json.dumps((scale * gain_v).tolist()).encode()
            for start in range(0, len(stored), _SEGMENT):
                stream = io.BytesIO()
                np.save(stream, stored[start : start + _SEGMENT])
                for suffix, data in (("npy", stream.getvalue()), ("json", facts)):
                    member = tarfile.TarInfo(f"{subject}_{start:09d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def _read_bare(path: Path, corpus: Corpus) -> tuple[NDArray[np.int32], FloatArray]:
    """Return digital samples (C, T) and V per step of a file that is known to be simple."""
    num_channels, rate_hz = corpus.num_channels, corpus.sampling_rate_hz
    data = np.fromfile(path, dtype=np.uint8)
    header = 256 * (num_channels + 1)
    field = bytes(data[256 + 104 * num_channels : 256 + 112 * num_channels])
    physical_min = np.array([float(field[at : at + 8]) for at in range(0, len(field), 8)])
    sample_bytes = 3 if corpus.suffix == "bdf" else 2
    gain_v = -2e-6 * physical_min / (2.0 ** (8 * sample_bytes) - 1)
    records = data[header:].reshape(-1, num_channels, rate_hz * sample_bytes)
    by_channel = np.ascontiguousarray(records.transpose(1, 0, 2)).reshape(num_channels, -1)
    if sample_bytes == 2:
        return by_channel.view("<i2").astype(np.int32), gain_v
    wide = np.zeros((num_channels, by_channel.shape[1] // 3, 4), dtype=np.uint8)
    wide[:, :, 1:] = by_channel.reshape(num_channels, -1, 3)
    return wide.view("<i4")[:, :, 0] >> 8, gain_v


def _convert_bare(
    digital: NDArray[np.int32], corpus: Corpus
) -> tuple[NDArray[np.int16], FloatArray]:
    """Return stored numbers (T', C) and digital steps per stored one (C,)."""
    from scipy import fft

    rate_hz, num_times = corpus.sampling_rate_hz, digital.shape[1]
    seconds = int(fft.next_fast_len(corpus.duration_s + 2 * _MARGIN_S, real=True))
    margin, end = _MARGIN_S * rate_hz, _MARGIN_S * rate_hz + num_times
    response = _bare_response(rate_hz, seconds)
    num_out = corpus.duration_s * TARGET_HZ
    stored = np.empty((num_out, len(digital)), dtype=np.int16)
    scale = np.empty(len(digital))
    row = np.zeros(seconds * rate_hz, dtype=np.float32)
    for channel, samples in enumerate(digital):
        row[margin:end] = samples
        row[:margin] = 2.0 * row[margin] - row[2 * margin : margin : -1]
        row[end : end + margin] = 2.0 * row[end - 1] - row[end - 2 : end - margin - 2 : -1]
        spectrum = fft.rfft(row)[: len(response)] * response
        values = fft.irfft(spectrum, seconds * TARGET_HZ)[_MARGIN_S * TARGET_HZ :][:num_out]
        steps = float(np.abs(values).max()) / 32767
        stored[:, channel] = np.rint(values / np.float32(steps))
        scale[channel] = steps * TARGET_HZ / rate_hz
    return stored, scale


def _bare_response(rate_hz: int, seconds: int) -> NDArray[np.float32]:
    """Return the filters' real response at the bins from 0 to half the new rate."""
    from scipy import fft

    from physioscale.signal import fir_kernel, notch_kernel

    response = np.ones(seconds * TARGET_HZ // 2 + 1)
    for kernel in (
        fir_kernel(rate_hz, low_hz=LOW_HZ, high_hz=HIGH_HZ),
        notch_kernel(rate_hz, line_hz=LINE_HZ),
    ):
        centred = np.zeros(seconds * rate_hz)
        centred[: len(kernel)] = kernel
        response *= fft.rfft(np.roll(centred, -(len(kernel) // 2))).real[: len(response)]
    return response.astype(np.float32)


def load_mne(out: Path) -> FloatArray:
    """Return the reference's channels (C, T) in V as a reader gets them."""
    arrays = [np.load(stream) for stream in _members(out, ".npy", subject=_FIRST)]
    return np.concatenate(arrays, axis=1)[:REFERENCE_CHANNELS].astype(np.float64)


def load_physioscale(out: Path) -> FloatArray:
    """Return the reference's channels (C, T) in V as a reader gets them."""
    metas = [json.load(stream) for stream in _members(out, ".meta.json")]
    signals: list[NDArray[Any]] = [np.load(stream) for stream in _members(out, ".signal.npy")]
    decoded = [
        signal * np.array(meta["scale"]) + np.array(meta["offset"])
        for signal, meta in zip(signals, metas, strict=True)
        if meta["subject"] == _FIRST
    ]
    values: FloatArray = np.concatenate(decoded)
    return values[:, :REFERENCE_CHANNELS].T


def load_limit(out: Path) -> FloatArray:
    """Return the reference's channels (C, T) in V as a reader gets them."""
    stored = np.concatenate([np.load(s) for s in _members(out, ".npy", subject=_FIRST)])
    scale = np.array(json.load(next(_members(out, ".json", subject=_FIRST))))
    values: FloatArray = stored * scale
    return values[:, :REFERENCE_CHANNELS].T


def _members(out: Path, suffix: str, *, subject: str = "") -> Iterator[io.BytesIO]:
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in sorted(tar.getmembers(), key=lambda member: member.name):
                if member.name.startswith(subject) and member.name.endswith(suffix):
                    content = tar.extractfile(member)
                    assert content is not None
                    yield io.BytesIO(content.read())


CONTENDERS: dict[str, tuple[Convert, Callable[[Path], FloatArray]]] = {
    "mne": (convert_mne, load_mne),
    "physioscale": (convert_physioscale, load_physioscale),
    "limit": (convert_limit, load_limit),
}


def main() -> None:
    """Warm up, then answer `run` and `accuracy`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    known = corpora(quick=arguments.quick)
    by_name = {one.name: one for one in (*known, *map(longer, known))}
    corpus, folder = by_name[arguments.corpus], arguments.folder
    convert, load = CONTENDERS[arguments.contender]
    out = folder / "out" / f"{arguments.contender}-{corpus.name}"

    def run(one: Corpus = corpus) -> Answer:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        gc.collect()
        start_mb, cpu_s, begun_s = reset_peak(), cpu_seconds(), time.perf_counter()
        convert(one, folder, out)
        wall_s = time.perf_counter() - begun_s
        return {
            "wall_s": wall_s,
            "cpu_s": cpu_seconds() - cpu_s,
            "above_start_mb": peak_mb() - start_mb,
            "stored_mb": sum(path.stat().st_size for path in out.glob("*.tar")) / 1e6,
        }

    def accuracy() -> Answer:
        expected = np.load(corpus.reference(folder))
        found = load(out)
        if found.shape != expected.shape:
            return {"relative_rms": float("inf")}
        return {"relative_rms": relative_rms(found, expected)}

    # Imports and kernels that load on first use belong to no conversion.
    serve({"run": run, "accuracy": accuracy}, warm_up=lambda: run(WARM_UP))


if __name__ == "__main__":
    main()
