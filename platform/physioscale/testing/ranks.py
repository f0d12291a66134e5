"""Run a function on several gloo ranks of this machine's CPU, for tests of what ranks agree on.

The function must live in a package, since spawned processes import it by name.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

# What a process that was told to end may still take.
_GRACE_S = 5.0


def run_on_ranks(
    job: Callable[..., dict[str, torch.Tensor]],
    *arguments: Any,
    num_ranks: int,
    folder: Path,
    timeout_s: float = 120.0,
    **settings: Any,
) -> list[dict[str, torch.Tensor]]:
    """Return what `job(*arguments, **settings)` returned on each rank, tensors by name.

    Args:
        job: called with torch.distributed initialised.
        arguments, settings: given to `job` on every rank.
        num_ranks: how many processes to start.
        folder: an empty folder for the ranks' meeting point and their results.
        timeout_s: after this all ranks are killed.

    Raises:
        RuntimeError: if a rank failed or did not end in time; its own output says why.
    """
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_run, args=(partial(job, *arguments, **settings), rank, num_ranks, folder)
        )
        for rank in range(num_ranks)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + timeout_s
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        if process.exitcode is None:
            process.kill()
            process.join(_GRACE_S)
    if any(codes) or None in codes:
        raise RuntimeError(f"ranks ended with {codes} (None: killed after {timeout_s:g} s)")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(num_ranks)]


def _run(
    job: Callable[[], dict[str, torch.Tensor]], rank: int, num_ranks: int, folder: Path
) -> None:
    # What DeepSpeed reads of a rank, when it is imported and when it starts.
    os.environ |= {
        "DS_ACCELERATOR": "cpu",
        "LOCAL_RANK": str(rank),
        "RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
    }
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=num_ranks
    )
    torch.save(job(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
