"""The load pipeline against the offline conversion with the same corners, and its arithmetic."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from physioscale.config import LoadConfig, RunConfig
from physioscale.errors import InputError
from physioscale.signal import apply_fir, fir_kernel, rational_ratio, resample
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
