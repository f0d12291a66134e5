"""One recording in one pass: memory, what is independent of the cuts, and what fails in between."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physioscale.contract import open_shard_set
from physioscale.errors import InputError
from physioscale.testing import patch_header, write_edf
from physioscale_sharding.quantise import code_values, largest_steps
from physioscale_sharding.readers import EdfReader
from physioscale_sharding.segments import cut_run
from physioscale_sharding.selection import select_channels
from physioscale_sharding.spool import Spool, SpoolError

Convert = Callable[..., Any]
Segments = Callable[[Path], list[dict[str, Any]]]

NUM_CHANNELS, RATE_HZ, SHORT_S = 19, 128, 1200
# Converts two corpora, one after the other, and prints the process's highest resident set (MB)
# after each, and the one before both.
CHILD = """
import contextlib, io, sys
from physioscale.cli.main import main
from physioscale_sharding import convert, process
import webdataset, scipy.signal, mne.filter
def resident_mb(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
print(resident_mb("VmRSS"))
for name in ("short", "long"):
    with contextlib.redirect_stdout(io.StringIO()):
        words = ["shard", f"{sys.argv[1]}/{name}", "--out", f"{sys.argv[1]}/{name}-out"]
        assert main([*words, "--workers", "1"]) == 0
    print(resident_mb("VmHWM"))
"""


def noise_uv(duration_s: float, *, num_channels: int = 3) -> Any:
    """Return (C, T) microvolts at 128 Hz."""
    shape = (num_channels, int(duration_s * RATE_HZ))
    return np.random.default_rng(6).normal(0, 20, shape)


def write(path: Path, signal_uv: Any, **options: Any) -> None:
    """Write an EDF file at 128 Hz."""
    labels = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T7"]
    labels += ["T8", "P7", "P8", "Fz", "Cz", "Pz"]
    labels = labels[: len(signal_uv)]
    write_edf(path, signal_uv, labels=labels, sampling_rate_hz=RATE_HZ, **options)


def repeat(path: Path, *, times: int, into: Path) -> None:
    """Write a file whose data records are those of another, several times over."""
    data = path.read_bytes()
    header = 256 * (NUM_CHANNELS + 1)
    into.parent.mkdir(parents=True)
    into.write_bytes(data[:header] + data[header:] * times)
    patch_header(into, "num_records", text=str(SHORT_S * times))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path: Path) -> None:
    short = tmp_path / "short/s1/a.edf"
    write(short, noise_uv(SHORT_S, num_channels=NUM_CHANNELS))
    repeat(short, times=6, into=tmp_path / "long/s1/a.edf")
    # Whole, in float64, the long one would take 140 MB and the short one 23 MB.
    found = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    start_mb, short_mb, long_mb = map(float, found.stdout.split())
    assert long_mb <= 1.05 * short_mb
    assert long_mb - start_mb <= 210
    index = open_shard_set(tmp_path / "long-out").index
    assert sum(index["num_times"].to_pylist()) == 6 * SHORT_S * RATE_HZ


def test_values_and_figures_do_not_depend_on_where_segments_are_cut(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    write(tmp_path / "in/s1/a.edf", noise_uv(200.0))
    values, rows = [], []
    for segment_s in (60, 7.3):
        out = tmp_path / f"out{segment_s}"
        words = [f"segment_s={segment_s}", "coding=float32", "sampling_rate_hz=100"]
        convert(tmp_path / "in", out, overrides=[*words, "max_sampling_rate_hz=null"])
        values.append(np.concatenate([sample["values"] for sample in segments(out)]))
        rows += open_shard_set(out).recordings.to_pylist()
    assert len(values[0]) == 20_000
    np.testing.assert_array_equal(values[0][: len(values[1])], values[1])
    assert rows[0]["statistics"] == rows[1]["statistics"]
    assert rows[0]["content_sha256"] == rows[1]["content_sha256"]


def test_values_of_a_run_behind_a_rest_are_its_own(
    tmp_path: Path, convert: Convert, segments: Segments
) -> None:
    # The first run leaves half a second over, and the ratio of rates is no whole number.
    signal_uv = noise_uv(90.5)
    onsets = [0.5 * n for n in range(121)] + [70.0 + 0.5 * n for n in range(60)]
    path = tmp_path / "in/s1/a.edf"
    write(path, signal_uv, kind="edf+d", record_onsets_s=onsets, record_duration_s=0.5)
    write(tmp_path / "alone/s1/a.edf", signal_uv[:, -30 * RATE_HZ :])
    words = ["coding=float32", "sampling_rate_hz=100", "max_sampling_rate_hz=null"]
    words.append("low_cut_hz=null")
    convert(tmp_path / "in", tmp_path / "out", overrides=words)
    convert(tmp_path / "alone", tmp_path / "alone-out", overrides=words)
    first, second = segments(tmp_path / "out")
    (alone,) = segments(tmp_path / "alone-out")
    assert (first["meta.json"]["num_times"], second["meta.json"]["start_sample"]) == (6000, 7000)
    # The files' digital steps differ by as much as their ranges do.
    np.testing.assert_allclose(second["values"], alone["values"], atol=5e-9)


def test_segments_take_up_all_samples_of_the_source() -> None:
    cut = cut_run(1040, rate_hz=100.0, segment_s=3.3)
    assert (cut.bounds, cut.rest) == (((0, 330), (330, 660), (660, 990)), 50)
    # 330 stored samples are 422.4 of the source; the rest belongs to no segment.
    bounds = cut.source_bounds(1331, up=25, down=32)
    assert bounds == [(0, 423), (423, 845), (845, 1268)]
    whole = cut_run(1000, rate_hz=100.0, segment_s=5.0)
    assert whole.source_bounds(1279, up=25, down=32) == [(0, 640), (640, 1279)]


def test_recording_that_fails_at_its_end_leaves_no_segment(
    tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"in/s1/{name}.edf", noise_uv(150.0))
    convert(tmp_path / "in", tmp_path / "all", overrides=["subject_ids=public"])
    read = EdfReader.read_samples

    def torn(self: EdfReader, header: Any, channels: Any, *, start: int, stop: int) -> Any:
        if header.source.endswith("b.edf") and start >= 120 * RATE_HZ:
            raise InputError(header.source, found="torn", expected="whole", do="Copy it again.")
        return read(self, header, channels, start=start, stop=stop)

    monkeypatch.setattr(EdfReader, "read_samples", torn)
    outcome = convert(tmp_path / "in", tmp_path / "out", overrides=["subject_ids=public"])
    assert [row.path for row in outcome.merged.quarantined] == ["s1/b.edf"]
    rows = open_shard_set(tmp_path / "out").index.to_pylist()
    expected = open_shard_set(tmp_path / "all").index.to_pylist()
    lost = {row["recording"] for row in expected} - {row["recording"] for row in rows}
    assert len(lost) == 1
    checksums = {row["key"]: row["block_crc32"] for row in expected if row["recording"] not in lost}
    assert {row["key"]: row["block_crc32"] for row in rows} == checksums


def test_full_disk_is_no_fault_of_the_recording(
    tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in/s1/a.edf", noise_uv(150.0))

    def full(self: Spool, block: Any) -> None:
        raise SpoolError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "append", full)
        with pytest.raises(InputError, match="no space left on its disk"):
            convert(tmp_path / "in", tmp_path / "out")
    outcome = convert(tmp_path / "in", tmp_path / "out")
    assert not outcome.merged.quarantined
    assert len(open_shard_set(tmp_path / "out").index) == 3


@pytest.mark.parametrize("gain", [1e30, 1e-40, np.nan, np.inf])
def test_values_that_float32_cannot_hold_are_quarantined(
    tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    write(tmp_path / "in/s1/a.edf", noise_uv(10.0))
    write(tmp_path / "in/s1/b.edf", noise_uv(11.0))

    def damaged(header: Any, *arguments: Any, **options: Any) -> Any:
        selection = select_channels(header, *arguments, **options)
        if header.source.endswith("a.edf"):
            selection.gain[1] = gain
        return selection

    # EDF writes no exponents, so its own fields cannot go that far.
    monkeypatch.setattr("physioscale_sharding.prepare.select_channels", damaged)
    outcome = convert(tmp_path / "in", tmp_path / "out")
    (lost,) = outcome.merged.quarantined
    assert "1 channels whose values are not finite as float32" in lost.error


def test_spool_gives_back_any_range_as_times_by_channels(tmp_path: Path) -> None:
    signal = np.arange(3 * 1000, dtype=np.int32).reshape(3, 1000)
    with Spool(tmp_path) as spool:
        for start, stop in ((0, 400), (400, 400), (400, 999), (999, 1000)):
            spool.append(signal[:, start:stop])
        assert spool.num_times == 1000
        for start, stop in ((0, 1000), (399, 401), (7, 7), (999, 1000)):
            found = spool.read(start, stop)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, signal.T[start:stop])
        with pytest.raises(ValueError, match="samples 5 to 1001 of 1000"):
            spool.read(5, 1001)
        with pytest.raises(ValueError, match="behind blocks of"):
            spool.append(signal.astype(np.float32))
        # It has no name: whatever becomes of the process, nothing is left.
        assert list(tmp_path.iterdir()) == []


def test_spool_writes_on_where_the_system_took_a_part(tmp_path: Path) -> None:
    class Slow:
        """Takes 100 bytes at a time."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, data: Any) -> int:
            return int(self._file.write(data[:100]))

        def fileno(self) -> int:
            return int(self._file.fileno())

        def close(self) -> None:
            self._file.close()

    signal = np.arange(333, dtype=np.int16)[np.newaxis]
    with Spool(tmp_path) as spool:
        spool._file = Slow(spool._file)  # type: ignore[assignment]
        spool.append(signal)
        np.testing.assert_array_equal(spool.read(0, 333), signal.T)


def test_spool_says_that_the_disk_refused(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="No such file"):
        Spool(tmp_path / "none")


def test_largest_steps_of_odd_channels() -> None:
    largest = largest_steps(
        robust_std=np.array([2.0, 0.0, 0.0]),
        std=np.array([5.0, 3.0, 0.0]),
        lsb_share=0.01,
        source_gain=np.array([0.1, 0.1, 0.1]),
    )
    # By the robust deviation, by the ordinary one where more than half is constant, by the source.
    np.testing.assert_allclose(largest, [0.018, 0.027, 0.1])


@pytest.mark.parametrize("num_times", [1, 15, 16, 17, 1000])
def test_quantised_values_use_the_whole_range(num_times: int) -> None:
    generator = np.random.default_rng(num_times)
    values = generator.normal(0, [1.0, 30.0, 0.0], (num_times, 3)).astype(np.float32)
    coded = code_values(values, largest=np.array([0.01, 0.3, 0.5]))
    assert coded.stored.dtype == np.int16
    assert np.abs(coded.stored[:, :2].astype(int)).max(axis=0).tolist() == [32767, 32767]
    scale = np.array(coded.scale)
    assert scale[2] == 0.5
    assert (np.abs(coded.stored * scale - values) <= 0.504 * scale).all()


def test_values_whose_step_would_be_too_large_are_float32() -> None:
    values = np.array([[1.0, 1.0], [-3.2767, 0.5]], dtype=np.float32)
    assert code_values(values, largest=np.array([1.01e-4, 1.0])).dtype == "int16"
    coded = code_values(values, largest=np.array([0.99e-4, 1.0]))
    assert coded.dtype == "float32"
    np.testing.assert_array_equal(coded.stored, values)
