"""Streams without a recipe, and what came out of them, for tests of the order.

In:  shard sets and a run configuration.
Out: per global step what each place of the batch held, whoever read it; and the record of a
     consumer that was killed and continued.

Everything that runs in a process of its own lives here, not in a test file.
"""

import json
import os
import random
import signal
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from physioscale.config import AcceptsConfig, DataConfig, LoadConfig, RunConfig
from physioscale.streaming import Batch, open_stream, order

_TIMEOUT_S = 120.0
_POLL_S = 0.0005


class Seen(NamedTuple):
    """What one place of a global batch held."""

    window: int
    """Number of the window."""
    signal: int
    """CRC-32 of its samples."""
    draws: int
    """CRC-32 of its crop offset and its mask."""


def stream_config(
    *folders: Path,
    cache_dir: Path,
    seed: int = 0,
    data: dict[str, Any] | None = None,
    load: dict[str, Any] | None = None,
    accepts: dict[str, Any] | None = None,
) -> RunConfig:
    """Return a run configuration that only streams: windows of 4 s in global batches of 8."""
    settings = {"window_s": 4.0, "batch_samples": 8, "cache_dir": str(cache_dir)}
    return RunConfig(
        recipe="none",
        variant="none",
        stage="none",
        model=None,
        objective=None,
        seed=seed,
        data=DataConfig(shards=[str(f) for f in folders], **{**settings, **(data or {})}),
        load=LoadConfig(**(load or {})),
        accepts=AcceptsConfig(**(accepts or {})),
    )


def global_batches(
    config: RunConfig, *, world_size: int, first: int, last: int
) -> list[list[Seen]]:
    """Return the global batches of steps [first, last), put together from all ranks.

    Raises:
        ValueError: two ranks held one place of a batch, or none did.
    """
    steps: list[dict[int, Seen]] = [{} for _ in range(first, last)]
    for rank in range(world_size):
        stream = open_stream(config, split="train", rank=rank, world_size=world_size)
        for batch in stream.train_loader(first_step=first, last_step=last):
            found = dict(zip(batch.draws.sample_index.tolist(), seen(batch), strict=True))
            if set(found) & set(steps[batch.step - first]):
                raise ValueError(f"step {batch.step}: rank {rank} read what another had read")
            steps[batch.step - first].update(found)
        stream.close()
    for step, places in enumerate(steps, start=first):
        if sorted(places) != list(range(len(places))):
            raise ValueError(f"step {step}: places {sorted(places)} were read")
    return [[places[place] for place in range(len(places))] for places in steps]


def seen(batch: Batch) -> list[Seen]:
    """Return what each place of a batch held."""
    crops = batch.draws.uniform("crop", 1).numpy()
    masks = batch.draws.normal("mask", 8).numpy()
    signals = batch.signal.contiguous().numpy()
    parts = zip(batch.window_ids.tolist(), signals, crops, masks, strict=True)
    return [
        Seen(window, zlib.crc32(signal.tobytes()), zlib.crc32(crop.tobytes() + mask.tobytes()))
        for window, signal, crop, mask in parts
    ]


def consume_and_die(
    config: RunConfig, *, last: int, log: Path, stops: Sequence[int], seed: int
) -> None:
    """Consume the steps [0, last), killed with SIGKILL soon after each step of `stops`.

    A consumer is a process of its own. It writes a line for each step that it has consumed, with
    the stream's state behind it; the next consumer goes on from the last whole line. Meant as the
    target of a spawned process: it forks, so it must not share threads with anybody.
    """
    log.touch()
    rng = random.Random(seed)
    for stop in (*sorted(stops), None):
        child = os.fork()
        if child == 0:
            os._exit(_consume(config, last=last, log=log))
        if stop is not None:
            _wait_for_step(log, stop)
            # A kill is not in step with the reader: it falls anywhere in the next few batches.
            time.sleep(rng.uniform(0.0, 0.004))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if stop is None and status != 0:
            raise RuntimeError(f"the last consumer ended with status {status}")


def consumed(log: Path) -> list[tuple[int, list[Seen]]]:
    """Return (step, what its batch held) of each line, in the order of consumption."""
    lines = [json.loads(line) for line in _whole_lines(log)]
    return [(line["step"], [Seen(*item) for item in line["seen"]]) for line in lines]


def pss_bytes_by_epoch(config: RunConfig, *, num_epochs: int, out: Path) -> None:
    """Write the process's proportional set size (bytes) at the end of each epoch, as JSON."""
    stream = open_stream(config, split="train")
    plan = stream.plan
    sizes = []
    for epoch in range(num_epochs):
        loader = stream.train_loader(
            first_step=plan.first_step(epoch), last_step=plan.first_step(epoch + 1)
        )
        for _ in loader:
            pass
        sizes.append(memory_bytes("Pss"))
    out.write_text(json.dumps(sizes))


def first_batches(config: RunConfig, *, shares: Sequence[float], out: Path) -> None:
    """Write how long the first batch takes at shares of the first epoch, and the memory, as JSON.

    Times (s) count from `iter(loader)`; the orders of epochs and pools that an earlier position
    worked out are forgotten before each. Memory (bytes) is what this process holds alone,
    less what it held after the imports.
    """
    before = memory_bytes("Private_Dirty")
    begun = time.perf_counter()
    stream = open_stream(config, split="train")
    num_steps = stream.plan.first_step(1)
    measured: dict[str, Any] = {"open_s": time.perf_counter() - begun, "first_s": []}
    windows = []
    for share in shares:
        order._epoch_order.cache_clear()
        order._mixed_pool.cache_clear()
        step = int(share * num_steps)
        loader = stream.train_loader(first_step=step, last_step=num_steps)
        begun = time.perf_counter()
        batches = iter(loader)
        batch = next(batches)
        measured["first_s"].append(time.perf_counter() - begun)
        windows.append((step, batch.window_ids.tolist()))
        del batches  # ends the reader's threads
    measured["private_bytes"] = memory_bytes("Private_Dirty") - before
    measured["batches"] = windows
    out.write_text(json.dumps(measured))


def memory_bytes(field: str) -> int:
    """Return a field of this process's memory map summary, for example "Pss" (Linux only)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    raise ValueError(f"no field {field!r} in smaps_rollup")


def _consume(config: RunConfig, *, last: int, log: Path) -> int:
    """Go on from the last whole line of `log`; return the exit status."""
    stream = open_stream(config, split="train")
    lines = _whole_lines(log)
    state = json.loads(lines[-1])["state"] if lines else stream.state(0)
    if state["plan_hash"] != stream.plan_hash:
        return 1
    # A line that was cut by a kill is not part of the record.
    os.truncate(log, sum(len(line) + 1 for line in lines))
    with log.open("ab", buffering=0) as file:
        for batch in stream.train_loader(first_step=int(state["step"]), last_step=last):
            line = {
                "step": batch.step,
                "seen": seen(batch),
                "state": stream.state(batch.step + 1),
            }
            file.write(json.dumps(line).encode() + b"\n")
            time.sleep(0.001)  # stands for the training step
    return 0


def _wait_for_step(log: Path, step: int) -> None:
    until = time.monotonic() + _TIMEOUT_S
    while len(_whole_lines(log)) <= step:
        if time.monotonic() > until:
            raise TimeoutError(f"step {step} was not consumed in {_TIMEOUT_S:g} s")
        time.sleep(_POLL_S)


def _whole_lines(log: Path) -> list[bytes]:
    return log.read_bytes().split(b"\n")[:-1]
