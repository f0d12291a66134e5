"""Windows: enumerated per recording, joined across segments, never across a gap, read exactly."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.streaming import Stream, open_stream
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import ShardSetTruth, write_shard_set

Config = Callable[..., RunConfig]


def read_all(stream: Stream) -> dict[tuple[str, float], np.ndarray]:
    """Return every window (C, T) by (recording, start in seconds)."""
    windows = {}
    for batch in stream.ordered_loader(batch=5):
        for place, row in enumerate(batch.recording_rows):
            name = stream.recordings[row].recording
            windows[name, float(batch.start_s[place])] = batch.signal[place].numpy().copy()
    return windows


def expected_windows(
    truth: ShardSetTruth, *, window: int, stride: int
) -> dict[tuple[str, float], np.ndarray]:
    """Cut the truth itself into windows."""
    cut = {}
    for recording in truth.recordings:
        rate = recording.spec.sampling_rate_hz
        for start, run in zip(recording.starts, recording.runs, strict=True):
            for at in range(0, len(run) - window + 1, stride):
                cut[recording.spec.name, (start + at) / rate] = run[at : at + window].T
    return cut


@pytest.mark.parametrize("stride_s", [4.0, 2.5])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_every_window_of_every_run_is_read_once_and_equals_the_source(
    tmp_path: Path, make_config: Config, stride_s: float, dtype: str
) -> None:
    recordings = [
        SyntheticRecording("a", run_s=(23.2, 9.0), gap_s=1.5, num_channels=3),
        SyntheticRecording("b", run_s=(17.0,), num_channels=5, burst_at_s=11.0),
        SyntheticRecording("c", run_s=(4.0, 3.996, 4.004), num_channels=3),
    ]
    # 7 s segments: most windows of 4 s with a stride of 2.5 s cross a cut, some cross a shard.
    truth = write_shard_set(
        tmp_path / "set", recordings=recordings, segment_s=7.0, segments_per_shard=2, dtype=dtype
    )
    stream = open_stream(make_config(truth.path, data={"stride_s": stride_s}), split="train")
    read = read_all(stream)
    expected = expected_windows(truth, window=1000, stride=round(stride_s * 250))
    assert set(read) == set(expected)
    for place, signal in expected.items():
        np.testing.assert_array_equal(read[place], signal)


def test_a_window_inside_a_segment_is_one_pread(
    tmp_path: Path, make_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a", run_s=(60.0,))])
    stream = open_stream(make_config(truth.path), split="train")
    sizes: list[int] = []
    real = os.preadv

    def counting(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        sizes.extend(len(buffer) for buffer in buffers)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    assert len(read_all(stream)) == 15
    assert len(sizes) == 15
    # A window of 4 s x 250 Hz x 8 channels x 2 bytes is widened to whole 16 KiB blocks.
    assert max(sizes) <= 16000 + 2 * 16384


def test_margins_reach_into_neighbouring_segments_and_reflect_at_the_ends(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(
        tmp_path / "set", recordings=[SyntheticRecording("a", run_s=(30.0,))], segment_s=7.0
    )
    load = {"low_cut_hz": 2.0, "high_cut_hz": None}
    stream = open_stream(make_config(truth.path, load=load), split="train")
    margin = stream.table.buckets[0].margin_samples
    assert margin > 0
    run = truth.recordings[0].runs[0].T.astype(np.float64)
    padded = np.pad(run, ((0, 0), (margin, margin)), mode="reflect", reflect_type="odd")
    for (_, start_s), signal in read_all(stream).items():
        at = round(start_s * 250)
        expected = padded[:, at : at + 1000 + 2 * margin]
        np.testing.assert_allclose(signal, expected, rtol=0, atol=1e-10)


def test_channels_without_a_position_are_left_out_and_counted(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(
        tmp_path / "set", recordings=[SyntheticRecording("a", num_channels=6, unplaced=2)]
    )
    stream = open_stream(make_config(truth.path, accepts={"positions": True}), split="train")
    assert stream.table.buckets[0].num_channels == 4
    assert any("2 channels (no known position)" in line for line in stream.describe())
    for (_, start_s), signal in read_all(stream).items():
        at = round(start_s * 250)
        np.testing.assert_array_equal(signal, truth.recordings[0].runs[0][at : at + 1000, :4].T)


def test_recordings_that_do_not_fit_are_left_out_and_counted(
    tmp_path: Path, make_config: Config
) -> None:
    recordings = [
        SyntheticRecording("slow", sampling_rate_hz=100.0),
        SyntheticRecording("few", num_channels=2),
        SyntheticRecording("good", num_channels=8),
        SyntheticRecording("short", num_channels=8, run_s=(3.0,)),
    ]
    truth = write_shard_set(tmp_path / "set", recordings=recordings)
    accepts = {"min_sampling_rate_hz": 200.0, "min_channels": 3}
    stream = open_stream(make_config(truth.path, accepts=accepts), split="train")
    text = "\n".join(stream.describe())
    assert "1 recordings (rate below 200 Hz)" in text
    assert "1 recordings (fewer than 3 usable channels)" in text
    assert "1 stretches shorter than a window" in text
    assert stream.num_windows == 15


def test_a_window_longer_than_every_recording_is_refused(
    tmp_path: Path, make_config: Config
) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a", run_s=(20.0,))])
    with pytest.raises(InputError, match=r"windows of 30 s, but the longest .* is 20 s"):
        open_stream(make_config(truth.path, data={"window_s": 30.0}), split="train")


def test_a_stride_between_samples_is_refused(tmp_path: Path, make_config: Config) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a")])
    with pytest.raises(InputError, match=r"data.stride_s: 0.3333 s, which is 83.3"):
        open_stream(make_config(truth.path, data={"stride_s": 0.3333}), split="train")


def test_an_empty_split_says_what_the_others_hold(tmp_path: Path, make_config: Config) -> None:
    truth = write_shard_set(tmp_path / "set", recordings=[SyntheticRecording("a")])
    with pytest.raises(InputError, match=r"split val \(recordings: train 1, val 0, test 0"):
        open_stream(make_config(truth.path), split="val")


def test_no_shards_named_says_how_to_make_some(make_config: Config) -> None:
    with pytest.raises(InputError, match="physioscale shard CORPUS --out DIR"):
        open_stream(make_config(), split="train")


def test_random_onsets_are_keyed_and_lose_no_sample(tmp_path: Path, make_config: Config) -> None:
    recordings = [SyntheticRecording(f"r{n}", run_s=(43.0, 9.5), num_channels=2) for n in range(4)]
    truth = write_shard_set(tmp_path / "set", recordings=recordings, segment_s=7.0)

    def crops(first: int, last: int, *, world_size: int = 1) -> dict[tuple[int, int], float]:
        config = make_config(truth.path, data={"random_onset": True})
        starts = {}
        for rank in range(world_size):
            stream = open_stream(config, split="train", rank=rank, world_size=world_size)
            for batch in stream.train_loader(first_step=first, last_step=last):
                for place, row in enumerate(batch.recording_rows.tolist()):
                    start_s = float(batch.start_s[place])
                    stored = truth.recording(stream.recordings[row].recording)
                    run = 0 if start_s < 43.0 else 1
                    at = round(start_s * 250) - stored.starts[run]
                    expected = stored.runs[run][at : at + 1000].T
                    np.testing.assert_array_equal(batch.signal[place].numpy(), expected)
                    starts[batch.step, int(batch.draws.sample_index[place])] = start_s
        return starts

    drawn = crops(0, 30)
    assert crops(17, 30) == {key: value for key, value in drawn.items() if key[0] >= 17}
    assert crops(0, 30, world_size=4) == drawn
    grid = [start for start in drawn.values() if start % 4.0 == 0]
    assert len(grid) < 0.05 * len(drawn)
    # The last windows of a run of 43 s may start anywhere up to 39 s.
    assert 38.0 < max(start for start in drawn.values() if start < 43.0) <= 39.0
