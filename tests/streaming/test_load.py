"""The load pipeline against the offline conversion with the same corners, and its arithmetic."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from physioscale.config import LoadConfig, RunConfig
from physioscale.contract import open_shard_set, write_dataset
from physioscale.errors import InputError
from physioscale.signal import apply_fir, fir_kernel, notch_kernel, rational_ratio, resample
from physioscale.streaming import LoadPipeline, open_stream
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

Config = Callable[..., RunConfig]


@pytest.mark.parametrize("rate_hz", [250.0, 256.0, 500.0, 512.0])
def test_streamed_windows_equal_the_offline_conversion_away_from_the_ends(
    tmp_path: Path, make_config: Config, rate_hz: float
) -> None:
    truth = write_shard_set(
        tmp_path / "set",
        recordings=[
            SyntheticRecording("a", run_s=(60.0,), num_channels=3, sampling_rate_hz=rate_hz)
        ],
        segment_s=13.0,
    )
    load = {"sampling_rate_hz": 200.0, "low_cut_hz": 0.5, "high_cut_hz": 99.5}
    config = make_config(truth.path, load=load, data={"window_s": 4.0, "stride_s": 3.0})
    run = truth.recordings[0].runs[0].T.astype(np.float64)
    filtered = apply_fir(run, fir_kernel(rate_hz, low_hz=0.5, high_hz=99.5))
    up, down = rational_ratio(rate_hz, 200.0)
    offline = resample(filtered, up=up, down=down)
    pipeline = LoadPipeline(config.load)
    checked = 0
    for batch in open_stream(config, split="train").ordered_loader(batch=3):
        loaded = pipeline(batch)
        assert loaded.sampling_rate_hz == 200.0
        assert loaded.margin == (0, 0)
        assert loaded.signal.shape == (len(batch), 3, 800)
        for place, start_s in enumerate(batch.start_s):
            if not 4.0 <= start_s <= 52.0:
                continue
            expected = offline[:, round(start_s * 200) : round(start_s * 200) + 800]
            error = loaded.signal[place].numpy() - expected
            relative = np.sqrt((error**2).mean() / (expected**2).mean())
            assert relative < 1e-4
            checked += 1
    assert checked >= 15


def test_session_statistics_normalise_in_the_pipelines_band(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a", run_s=(60.0,))])
    load = {"low_cut_hz": 0.5, "high_cut_hz": 99.5, "normalise": "session", "clip": 3.0}
    config = make_config(truth.path, load=load)
    pipeline = LoadPipeline(config.load)
    loaded = [
        pipeline(b).signal.clone()
        for b in open_stream(config, split="train").ordered_loader(batch=8)
    ]
    signal = torch.cat(loaded)
    assert signal.abs().max() == 3.0
    # The session's deviation is that of the whole recording; clipping takes a little away.
    assert signal.std(dim=(0, 2)).sub(1).abs().max() < 0.15
    mean, std = truth.recordings[0].statistics["reve"]
    batch = next(iter(open_stream(config, split="train").ordered_loader(batch=1)))
    np.testing.assert_allclose(batch.mean[0].numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(batch.std[0].numpy(), std, rtol=1e-6)


def test_window_statistics_and_a_flat_channel_give_finite_values(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a", run_s=(8.0,))])
    config = make_config(truth.path, load={"normalise": "window"})
    batch = next(iter(open_stream(config, split="train").ordered_loader(batch=2)))
    batch.signal[:, 0] = 1e-5
    signal = LoadPipeline(config.load)(batch).signal
    assert torch.isfinite(signal).all()
    # The mean of a constant 1e-5 is off by a float32 step (9e-13) at most; flat stays near 0.
    assert signal[:, 0].abs().max() < 0.05
    assert signal[:, 1:].mean(dim=-1).abs().max() < 1e-4
    assert signal[:, 1:].std(dim=-1, correction=0).sub(1).abs().max() < 1e-4


def test_corners_that_the_shards_have_are_not_applied_twice(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(
        tmp_path / "set",
        recordings=[SyntheticRecording("a", sampling_rate_hz=200.0)],
        low_cut_hz=0.5,
        high_cut_hz=99.5,
    )
    load = {"sampling_rate_hz": 200.0, "low_cut_hz": 0.5, "high_cut_hz": 99.5}
    stream = open_stream(make_config(truth.path, load=load), split="train")
    assert stream.table.buckets[0].margin_samples == 0
    batch = next(iter(stream.ordered_loader(batch=2)))
    assert torch.equal(LoadPipeline(LoadConfig(**load))(batch).signal, batch.signal)  # type: ignore[arg-type]


def test_missing_session_statistics_name_the_bands_there_are(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a")])
    load = {"low_cut_hz": 1.0, "high_cut_hz": 40.0, "normalise": "session"}
    with pytest.raises(InputError, match=r"wide \(None-None Hz\), reve \(0.5-99.5 Hz\); expected"):
        open_stream(make_config(truth.path, load=load), split="train")


def load_all(config: RunConfig) -> tuple[torch.Tensor, list[float]]:
    """Return all windows (N, C, T) after the load pipeline, and where each starts (s)."""
    pipeline = LoadPipeline(config.load)
    loaded, starts = [], []
    for batch in open_stream(config, split="train").ordered_loader(batch=4):
        loaded.append(pipeline(batch).signal.clone())
        starts += batch.start_s.tolist()
    return torch.cat(loaded), starts


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the RMS of the difference over that of the expected values."""
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def test_the_notch_equals_its_offline_twin(tmp_path: Path, make_config: Config) -> None:
    truth = write_shard_set(
        tmp_path / "set", recordings=[SyntheticRecording("a", run_s=(60.0,), num_channels=3)]
    )
    config = make_config(truth.path, load={"notch_hz": 50.0})
    run = truth.recordings[0].runs[0].T.astype(np.float64)
    offline = apply_fir(run, notch_kernel(250.0, line_hz=50.0))
    windows, starts = load_all(config)
    inner = [(w, round(s * 250)) for w, s in zip(windows, starts, strict=True) if 8 <= s <= 48]
    assert len(inner) >= 10
    for window, at in inner:
        assert relative_rms(window.numpy(), offline[:, at : at + 1000]) < 1e-4
    assert relative_rms(windows[5].numpy(), run[:, 5000:6000]) > 1e-2


def test_a_notch_that_the_shards_have_is_not_applied_twice(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(tmp_path / "set", notch_hz=(50.0, 100.0))
    config = make_config(truth.path, load={"notch_hz": 50.0}, accepts={"notch": True})
    assert open_stream(config, split="train").table.buckets[0].margin_samples == 0


@pytest.mark.parametrize(
    ("reference", "columns"), [(["average"], range(6)), (["E5"], [4]), (["E5", "E6"], [4, 5])]
)
def test_a_new_reference_is_subtracted(
    tmp_path: Path, make_config: Config, reference: list[str], columns: list[int]
) -> None:
    truth = write_shard_set(
        tmp_path / "set", recordings=[SyntheticRecording("a", num_channels=6)], dtype="float32"
    )
    windows, starts = load_all(make_config(truth.path, load={"reference": reference}))
    run = truth.recordings[0].runs[0].T.astype(np.float64)
    expected = run - run[list(columns)].mean(axis=0)
    assert windows.shape[1] == 6
    for window, start_s in zip(windows, starts, strict=True):
        at = round(start_s * 250)
        assert relative_rms(window.numpy(), expected[:, at : at + 1000]) < 1e-5


def test_channels_come_by_name_and_in_the_order_asked_for(
    tmp_path: Path, make_config: Config
) -> None:
    recordings = [SyntheticRecording("a", num_channels=6), SyntheticRecording("b", num_channels=3)]
    truth = write_shard_set(tmp_path / "set", recordings=recordings)
    config = make_config(truth.path, load={"channels": ["E4", "E1"], "reference": ["E6"]})
    stream = open_stream(config, split="train")
    assert any("1 recordings (no usable channel E4)" in line for line in stream.describe())
    batch = next(iter(stream.ordered_loader(batch=1)))
    assert batch.channel_names == (("E4", "E1"),)
    assert batch.positions_m.shape == (1, 2, 3)
    loaded = LoadPipeline(config.load)(batch).signal[0].numpy()
    run = truth.recording("a_eyesopen").runs[0][:1000].T
    assert relative_rms(loaded, run[[3, 0]] - run[5]) < 1e-5


def test_corpus_statistics_come_from_the_training_subjects_by_type(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a", num_channels=4)])
    load = {"low_cut_hz": 0.5, "high_cut_hz": 99.5, "normalise": "corpus"}
    with pytest.raises(InputError, match=r"corpus statistics for no band; expected those of 0.5"):
        open_stream(make_config(truth.path, load=load), split="train")
    facts = {
        "band": "reve",
        "low_hz": 0.5,
        "high_hz": 99.5,
        "channel_types": {"eeg": {"mean": 1e-6, "std": 2e-5}},
    }
    add_statistics(truth.path, "statistics/reve.json", json.dumps(facts).encode())
    batch = next(
        iter(open_stream(make_config(truth.path, load=load), split="train").ordered_loader(batch=2))
    )
    assert torch.equal(batch.std, torch.full((2, 4), 2e-5))
    assert torch.equal(batch.mean, torch.full((2, 4), 1e-6))


def add_statistics(folder: Path, name: str, content: bytes) -> None:
    """Add a listed file to a shard set."""
    info = open_shard_set(folder).info
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    listed = {**info.files, name: hashlib.sha256(content).hexdigest()}
    write_dataset(folder, dataclasses.replace(info, files=listed))
