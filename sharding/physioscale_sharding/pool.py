"""Worker processes for independent jobs; one worker means this process itself.

In:  a function of a module (pickled by name), jobs, the number of workers.
Out: (number of the job, result) in the order in which they finish.

Workers come from a fork server that has imported the converter once, so that each starts in
milliseconds. A worker ends at once when the process that started it is gone: one that went on
writing after `kill -9` would meet the rerun's files.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from physioscale.errors import InputError

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

# What workers import when they first need it is imported once here, and shared.
_PRELOAD = ["physioscale_sharding.convert", "webdataset", "mne.filter", "scipy.signal"]
_EXIT_ORPHANED = 1


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    function: Callable[[JobT], ResultT], jobs: Sequence[JobT], *, num_workers: int
) -> Iterator[tuple[int, ResultT]]:
    """Yield (number of the job, result) as jobs finish.

    An exception of a job ends the run and is raised here; jobs that have not begun are dropped.

    Raises:
        InputError: a worker was killed from outside, mostly for want of memory.
    """
    if num_workers <= 1 or len(jobs) <= 1:
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    executor = ProcessPoolExecutor(
        min(num_workers, len(jobs)), mp_context=context, initializer=_start_worker
    )
    try:
        yield from _finished({executor.submit(function, job): n for n, job in enumerate(jobs)})
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _finished(futures: dict[Future[ResultT], int]) -> Iterator[tuple[int, ResultT]]:
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise InputError(
            "worker processes",
            found="one was killed from outside",
            expected="all to finish",
            do="Most often memory ran out: run the same line again with fewer --workers; what is "
            "done stays done.",
        ) from None


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; a worker has nothing to say about it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(_EXIT_ORPHANED)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
