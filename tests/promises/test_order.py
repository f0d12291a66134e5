"""R1 to R3 and R5 to R7: the order is pure, exact after kills, elastic, and costs no memory."""

import json
import multiprocessing
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import pytest

from physioscale.config import RunConfig
from physioscale.errors import InputError
from physioscale.streaming import open_stream
from physioscale.testing.recordings import SyntheticRecording
from physioscale.testing.shards import write_shard_set
from physioscale.testing.streams import (
    consume_and_die,
    consumed,
    global_batches,
    pss_bytes_by_epoch,
)

Config = Callable[..., RunConfig]
Figure = Callable[[str, object], None]

TIMEOUT_S = 600.0
RANKS = (1, 2, 4, 8)
THREADS = (1, 2, 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two shard sets with windows of two shapes, seven shards and three."""
    root = tmp_path_factory.mktemp("sets")
    sets = []
    for name, count in (("large", 10), ("small", 4)):
        recordings = [
            SyntheticRecording(f"{name}{number}", num_channels=3 + 2 * (number % 2), run_s=(41.0,))
            for number in range(count)
        ]
        written = write_shard_set(
            root / name, recordings=recordings, segment_s=20.0, corpus=name, seed=count
        )
        sets.append(written.path)
    return sets[0], sets[1]


@pytest.mark.promise(
    "R1",
    asked="identical id lists, order included, for ranks {1,2,4,8} x reader threads {1,2,8}",
    full=12,
    small=12,
)
def test_ranks_and_threads_change_no_batch(
    folders: tuple[Path, Path], make_config: Config, count: int
) -> None:
    layouts = list(product(RANKS, THREADS))
    assert len(layouts) == count
    data = {"weights": [1.0, 1.5]}
    plan = open_stream(make_config(*folders, data=data), split="train").plan
    last = plan.first_step(2) + 1
    results = [
        global_batches(
            make_config(*folders, data={**data, "reader_threads": threads}),
            world_size=world_size,
            first=0,
            last=last,
        )
        for world_size, threads in layouts
    ]
    planned = [plan.step(step).windows.tolist() for step in range(last)]
    for result in results:
        assert [[item.window for item in batch] for batch in result] == planned
        assert result == results[0]


@pytest.mark.promise(
    "R2",
    asked="50 random stops over 3 epochs: 0 missing, 0 repeated, same order, crops and masks",
    full=50,
    small=5,
)
def test_a_killed_consumer_goes_on_exactly(
    folders: tuple[Path, Path], make_config: Config, tmp_path: Path, count: int, figure: Figure
) -> None:
    data = {"stride_s": 1.0, "window_s": 2.0, "weights": [1.0, 0.7]}
    config = make_config(*folders, data=data)
    stream = open_stream(config, split="train")
    last = stream.plan.first_step(3)
    stops = random.Random(2).sample(range(last - 1), k=count)
    log = tmp_path / "consumed.jsonl"
    _in_own_process(consume_and_die, config, last=last, log=log, stops=stops, seed=3)
    record = consumed(log)
    assert [step for step, _ in record] == list(range(last))
    assert [batch for _, batch in record] == global_batches(
        config, world_size=1, first=0, last=last
    )
    taken = Counter(item.window for _, batch in record for item in batch)
    planned = Counter[int]()
    for step in range(last):
        planned.update(stream.plan.step(step).windows.tolist())
    assert taken == planned
    figure("steps", last)
    figure("kills", count)


@pytest.mark.promise(
    "R3",
    asked="8 -> 4 -> 2 -> 8 ranks at the same global batch, with mixture weights: same batches",
    full=20,
    small=1,
)
def test_other_ranks_go_on_with_the_same_batches(
    folders: tuple[Path, Path], make_config: Config, count: int
) -> None:
    config = make_config(*folders, data={"weights": [0.4, 1.7], "stride_s": 1.0})
    last = open_stream(config, split="train").plan.first_step(2)
    unbroken = global_batches(config, world_size=1, first=0, last=last)
    rng = random.Random(5)
    for _ in range(count):
        bounds = (0, *sorted(rng.sample(range(1, last), k=3)), last)
        pieces = []
        for world_size, (first, end) in zip((8, 4, 2, 8), pairwise(bounds), strict=True):
            pieces += global_batches(config, world_size=world_size, first=first, last=end)
        assert pieces == unbroken


@pytest.mark.promise(
    "R5",
    asked="{plan hash, seed, epoch, step} <= 1 KB; nothing captured per step",
    full=10_000,
    small=200,
)
def test_the_state_is_four_numbers(
    folders: tuple[Path, Path], make_config: Config, count: int, figure: Figure
) -> None:
    config = make_config(*folders, seed=2**31 - 1, data={"weights": [0.4, 1.7]})
    used, fresh = (open_stream(config, split="train") for _ in range(2))
    for _ in used.train_loader(first_step=0, last_step=12):
        pass
    rng = random.Random(7)
    sizes = []
    for step in (0, *(rng.randrange(10 ** rng.randint(1, 9)) for _ in range(count - 1))):
        state = used.state(step)
        assert set(state) == {"plan_hash", "seed", "epoch", "step"}
        assert state == fresh.state(step)
        sizes.append(len(json.dumps(state)))
    assert max(sizes) <= 1024
    figure("bytes", max(sizes))


@pytest.mark.promise(
    "R6",
    asked="max - min = 0 steps on 1,000 generated indexes; impossible layouts refused at launch",
    full=1000,
    small=12,
)
def test_all_ranks_take_the_same_number_of_steps(
    tmp_path: Path, make_config: Config, count: int, figure: Figure
) -> None:
    refused = 0
    for number in range(count):
        rng = random.Random(number)
        folder = write_shard_set(
            tmp_path / f"{number}",
            recordings=[_random_recording(rng, name) for name in range(rng.randint(2, 6))],
            segment_s=rng.choice([1.0, 3.0, 10.0]),
            segments_per_shard=rng.randint(1, 5),
            bands={"wide": (None, None)},
        ).path
        divisible_by = rng.choice([1, 2, 4, 8])
        data = {
            "window_s": rng.choice([0.5, 1.0]),
            "stride_s": rng.choice([0.25, 0.5, 1.0]),
            "divisible_by": divisible_by,
            "batch_samples": divisible_by * rng.randint(1, 4),
            "micro_batch": rng.choice([None, 1, 2, 3]),
            "pool_shards": rng.randint(1, 4),
        }
        refused += _check_steps(make_config(folder, data=data), rng.choice([2, 3, 4, 8]))
    assert 0 < refused < count, "both kinds of layout must occur"
    figure("refused layouts", refused)


def _random_recording(rng: random.Random, name: int) -> SyntheticRecording:
    runs = tuple(rng.choice([1.0, 2.5, 4.0, 9.25]) for _ in range(rng.randint(1, 3)))
    return SyntheticRecording(
        f"s{name}", num_channels=rng.choice([2, 3]), sampling_rate_hz=100.0, run_s=runs
    )


def _check_steps(config: RunConfig, world_size: int) -> bool:
    """Count the micro-batches of every rank over an epoch; return whether the launch refused."""
    streams = [
        open_stream(config, split="train", rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    if too_few := _refusal(lambda: streams[0].plan):
        assert "expected at least one full batch" in too_few
        return True
    last = max(streams[0].plan.first_step(1), 1)
    refusals = [_refusal(partial(s.train_loader, first_step=0, last_step=last)) for s in streams]
    if any(refusals):
        assert all(f"windows for {world_size} ranks" in refusal for refusal in refusals)
        return True
    taken = []
    for stream in streams:
        loader = stream.train_loader(first_step=0, last_step=last)
        steps = Counter(batch.step for batch in loader)
        assert sum(steps.values()) == len(loader)
        taken.append([steps[step] for step in range(last)])
        stream.close()
    assert taken == [[streams[0].layout.accumulation] * last] * world_size
    return False


def _refusal(action: Callable[[], object]) -> str:
    """Return the message with which `action` refuses, or an empty string."""
    try:
        action()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.promise(
    "R7",
    asked="PSS of all processes, median of the last 3 of 20 epochs against epochs 2-4: <= 5 %",
    full=20,
    small=6,
)
def test_memory_does_not_grow_with_epochs(
    folders: tuple[Path, Path],
    make_config: Config,
    tmp_path: Path,
    count: int,
    full: bool,
    figure: Figure,
) -> None:
    # The reader's threads live in the one process, so its PSS is the sum over all processes.
    stride_s = 0.02 if full else 0.2
    config = make_config(*folders, data={"stride_s": stride_s, "batch_samples": 32})
    out = tmp_path / "pss.json"
    _in_own_process(pss_bytes_by_epoch, config, num_epochs=count, out=out)
    sizes = json.loads(out.read_text())
    before, after = statistics.median(sizes[1:4]), statistics.median(sizes[-3:])
    figure("growth", f"{after / before - 1:+.2%}")
    figure("PSS", f"{after / 2**20:.0f} MiB")
    assert after <= 1.05 * before


def _in_own_process(target: Callable[..., None], *arguments: object, **options: object) -> None:
    """Run a function of the package in a fresh process, which shares nothing with this one."""
    process = multiprocessing.get_context("spawn").Process(
        target=target, args=arguments, kwargs=options
    )
    process.start()
    process.join(TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail(f"{target.__name__} did not end in {TIMEOUT_S:g} s")
    assert process.exitcode == 0
