"""R14: damage is named, by `verify` in any byte of any file, by the reader in all that it uses."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from physioscale.config import RunConfig
from physioscale.contract import BLOCK_BYTES, open_shard_set
from physioscale.contract.verify import verify_shard_sets
from physioscale.streaming import DamagedShardError, open_stream
from physioscale.testing import write_bids_corpus
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set

Shard = Callable[..., int]
Config = Callable[..., RunConfig]
Figure = Callable[[str, object], None]


@pytest.mark.promise(
    "R14", asked="verify: any flipped byte of any file is found in that file", full=3000, small=60
)
def test_verify_finds_any_flipped_byte(
    tmp_path: Path, shard: Shard, count: int, figure: Figure
) -> None:
    size = {"num_subjects": 3, "duration_s": 70.0, "sampling_rate_hz": 64.0}
    write_bids_corpus(tmp_path / "in", broken=True, channel_names=("Fp1", "Cz"), **size)  # type: ignore[arg-type]  # numbers of two types
    out = tmp_path / "out"
    assert shard(tmp_path / "in", out, "--set", "shard_mb=0.03", "--split", "val=0.3") == 0
    assert not verify_shard_sets([out]).faults
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    files = sorted(name for name in files if name != "report.html")
    assert len(files) >= 8, files
    rng = random.Random(14)
    for number in range(count):
        # Every file in turn: a small one is hit as often as a large one.
        name = files[number % len(files)]
        at, mask = rng.randrange((out / name).stat().st_size), rng.randrange(1, 256)
        _flip(out / name, at, mask)
        found = {fault.file for fault in verify_shard_sets([out]).faults}
        assert found == {name}, f"byte {at} of {name} by {mask}: {found}"
        _flip(out / name, at, mask)
    assert not verify_shard_sets([out]).faults
    figure("files", len(files))


@pytest.mark.promise(
    "R14",
    asked="reader: any payload byte that it uses, named by shard, recording and offset",
    full=1000,
    small=30,
)
def test_the_reader_names_any_flipped_payload_byte(
    tmp_path: Path, make_config: Config, count: int
) -> None:
    recordings = [
        SyntheticRecording("a", run_s=(40.0, 8.0), num_channels=6, burst_at_s=3.0),
        SyntheticRecording("b", run_s=(24.0,), num_channels=2),
    ]
    folder = write_shard_set(
        tmp_path / "set", recordings=recordings, segment_s=20.0, segments_per_shard=2
    ).path
    segments = open_shard_set(folder).index.to_pylist()
    assert {segment["dtype"] for segment in segments} == {"int16", "float32"}
    stream = open_stream(make_config(folder), split="train")
    rng = random.Random(41)
    for number in range(count):
        segment = segments[number % len(segments)]
        position, mask = rng.randrange(segment["signal_bytes"]), rng.randrange(1, 256)
        shard = folder / segment["shard"]
        _flip(shard, segment["signal_offset"] + position, mask)
        block = segment["signal_offset"] + position // BLOCK_BYTES * BLOCK_BYTES
        place = (
            f"set/{segment['shard']}, byte {block}, recording {segment['recording']!r}, "
            f"segment {segment['segment']}:"
        )
        with pytest.raises(DamagedShardError, match=re.escape(place)):
            list(stream.ordered_loader(batch=4))
        _flip(shard, segment["signal_offset"] + position, mask)
    assert sum(len(batch) for batch in stream.ordered_loader(batch=4)) == stream.num_windows


def _flip(path: Path, at: int, mask: int) -> None:
    """Change the bits of `mask` in one byte, in place; a second call changes them back."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        (value,) = file.read(1)
        file.seek(at)
        file.write(bytes([value ^ mask]))
