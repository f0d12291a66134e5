"""The made-up shard set is a valid one, and its truth is what a reader finds."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from physioscale.contract import file_sha256, open_shard_set
from physioscale.testing.recordings import SyntheticRecording, synthetic_recordings
from physioscale.testing.shards import ShardSetTruth, write_shard_set

ODD = [
    SyntheticRecording("a", run_s=(7.5, 3.0), gap_s=2.0, num_channels=3, burst_at_s=1.0),
    SyntheticRecording("b", split="val", num_channels=2, sampling_rate_hz=200.0, unplaced=1),
    SyntheticRecording("c", split="test", task="eyesclosed", run_s=(4.0,)),
]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> ShardSetTruth:
    folder = tmp_path_factory.mktemp("shards") / "odd"
    return write_shard_set(folder, recordings=ODD, segment_s=5.0, segments_per_shard=2)


def test_the_set_opens_and_every_file_is_the_one_that_dataset_json_names(
    truth: ShardSetTruth,
) -> None:
    shards = open_shard_set(truth.path)
    named = {shard.name: shard.sha256 for shard in shards.info.shards} | shards.info.files
    assert {name: file_sha256(truth.path / name) for name in named} == named
    assert shards.recordings.num_rows == 3
    assert shards.info.splits["val"].hours == pytest.approx(60 / 3600)


def test_the_tars_hold_the_samples_that_the_truth_states(truth: ShardSetTruth) -> None:
    rows = open_shard_set(truth.path).index.to_pylist()
    stored = truth.recording("a_eyesopen")
    assert stored.starts == (0, round((7.5 + 2.0) * 250))
    samples = {
        member.removesuffix(".signal.npy"): np.load(io.BytesIO(data))
        for name in {row["shard"] for row in rows}
        for member, data in _members(truth.path / name).items()
        if member.endswith(".signal.npy")
    }
    for run, start in zip(stored.runs, stored.starts, strict=True):
        parts = [
            samples[row["key"]] * np.float32(row["scale"])
            for row in rows
            if row["recording"] == "a_eyesopen" and start <= row["start_sample"] < start + len(run)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), run)


def test_the_burst_is_stored_as_float32_and_the_rest_as_int16(truth: ShardSetTruth) -> None:
    rows = open_shard_set(truth.path).index.to_pylist()
    kinds = [row["dtype"] for row in rows if row["recording"] == "a_eyesopen"]
    assert kinds == ["float32", "int16", "int16"]


def test_statistics_of_the_open_band_are_those_of_the_samples(truth: ShardSetTruth) -> None:
    stored = truth.recording("b_eyesopen")
    mean, std = stored.statistics["wide"]
    np.testing.assert_allclose(std, stored.runs[0].astype(float).std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(mean, stored.runs[0].astype(float).mean(axis=0), atol=1e-12)
    assert np.isnan(stored.positions_m).any(axis=1).tolist() == [False, True]


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    recordings = synthetic_recordings(3, duration_s=5.0, num_channels=2)
    first = write_shard_set(tmp_path / "a", recordings=recordings)
    again = write_shard_set(tmp_path / "b", recordings=recordings)
    other = write_shard_set(tmp_path / "c", recordings=recordings, seed=1)
    checksums = [open_shard_set(t.path).info.checksum for t in (first, again, other)]
    assert checksums[0] == checksums[1] != checksums[2]


def _members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file is not None}
