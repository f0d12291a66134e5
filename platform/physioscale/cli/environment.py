"""What `physioscale doctor` looks at: one function for each check, each with a verdict.

Sizes are printed in GB of 10^9 bytes. Limits of a container (cgroup version 2) count where they are
lower than the machine's.
"""

import importlib
import importlib.metadata
import io
import locale
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

GB = 1e9
MIN_SHM_GB = 1.0
"""Docker's default of 64 MB is far below it; a rank's workers and NCCL share this space."""
MIN_MEMORY_GB = 4.0
"""Ours: converting stays below 2 GB, torch and lightning take about 1 GB."""
WARN_DISK_GB = 10.0
FAIL_DISK_GB = 1.0

CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")
MEMINFO = Path("/proc/meminfo")
SHARED_MEMORY = Path("/dev/shm")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    """What was found, and what to do about it."""


def check_python() -> Check:
    """Name the interpreter; an older one than we need cannot import this module."""
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def check_package(name: str) -> Check:
    """Check that a package is installed in a version that physioscale declares, and imports."""
    required = _requirements().get(name)
    if required is None:
        return Check(name, "ok", "not needed on this system")
    problem = _version_problem(name, required)
    if problem is not None:
        return Check(name, "fail", problem)
    try:
        # Some packages greet on import; the report, and its JSON, stay ours.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            importlib.import_module(name)
    except Exception as error:  # any failure of a foreign import is the finding itself
        reason = " ".join(str(error).split())
        return Check(name, "fail", f"does not import: {type(error).__name__}: {reason}")
    return Check(name, "ok", importlib.metadata.version(name))


def check_other_packages(*, without: Iterable[str]) -> Check:
    """Check the versions of all other declared packages."""
    others = {name: rest for name, rest in _requirements().items() if name not in set(without)}
    problems = [_version_problem(name, required) for name, required in others.items()]
    bad = [problem for problem in problems if problem is not None]
    if bad:
        return Check("other packages", "fail", "; ".join(bad))
    return Check("other packages", "ok", f"{len(others)} in the declared versions")


def check_cpu() -> Check:
    """Count the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cpu_quota()
    if quota is not None and quota < (cores or 1):
        return Check("cpu", "ok", f"{cores} cores, limited to the time of {quota:g}")
    return Check("cpu", "ok", f"{cores} cores")


def check_memory() -> Check:
    """Check the memory that this process may use."""
    size = memory_bytes()
    if size is None:
        return Check("memory", "warn", "unknown on this system")
    gb = size / GB
    if gb < MIN_MEMORY_GB:
        return Check("memory", "warn", f"{gb:.1f} GB; {MIN_MEMORY_GB:g} GB or more is advised")
    return Check("memory", "ok", f"{gb:.1f} GB")


def check_gpus() -> Check:
    """Check the CUDA GPUs as torch sees them: names, memory, bf16, NCCL."""
    try:
        import torch
    except Exception:  # named by the check of torch itself
        return Check("gpu", "warn", "not looked at: torch does not import")
    if torch.cuda.is_available():
        return _describe_gpus(torch)
    if NVIDIA_DRIVER.exists():
        build = "a build without CUDA" if torch.version.cuda is None else "it finds no device"
        found = f"an NVIDIA driver is present, but torch cannot use it ({build})"
        return Check("gpu", "warn", f"{found}; install a CUDA build of torch")
    return Check("gpu", "ok", "no CUDA GPU; training runs on the CPU")


def check_shared_memory() -> Check:
    """Check the size of /dev/shm."""
    if not SHARED_MEMORY.is_dir():
        return Check("shared memory", "ok", f"no {SHARED_MEMORY} on this system")
    gb = shutil.disk_usage(SHARED_MEMORY).total / GB
    if gb < MIN_SHM_GB:
        advice = "under Docker, set `ipc: host` or `--shm-size`"
        return Check("shared memory", "warn", f"{gb:.2f} GB in {SHARED_MEMORY}; {advice}")
    return Check("shared memory", "ok", f"{gb:.1f} GB in {SHARED_MEMORY}")


def check_disk() -> Check:
    """Check the free space of the current folder."""
    folder = Path.cwd()
    gb = shutil.disk_usage(folder).free / GB
    found = f"{gb:.1f} GB free in {folder}"
    if gb < FAIL_DISK_GB:
        return Check("disk", "fail", f"{found}; shards and checkpoints will not fit")
    if gb < WARN_DISK_GB:
        return Check("disk", "warn", f"{found}; shards and checkpoints may not fit")
    return Check("disk", "ok", found)


def check_encoding() -> Check:
    """Check that file names and text are UTF-8."""
    names, text = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    if {names.lower().replace("-", ""), text.lower().replace("-", "")} == {"utf8"}:
        return Check("encoding", "ok", "UTF-8")
    advice = "set LC_ALL=C.UTF-8, or names with accents may be misread"
    return Check("encoding", "warn", f"file names {names}, text {text}; {advice}")


def memory_bytes() -> int | None:
    """Return the memory of the machine or of its container, whichever is less."""
    sizes = []
    if MEMINFO.is_file():
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text("ascii").splitlines())
        sizes.append(int(fields["MemTotal"].split()[0]) * 1024)
    elif "SC_PHYS_PAGES" in os.sysconf_names:  # macOS
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if CGROUP_MEMORY.is_file():
        limit = CGROUP_MEMORY.read_text("ascii").strip()
        sizes += [] if limit == "max" else [int(limit)]
    return min(sizes, default=None)


def _cpu_quota() -> float | None:
    if not CGROUP_CPU.is_file():
        return None
    quota, period = CGROUP_CPU.read_text("ascii").split()
    return None if quota == "max" else int(quota) / int(period)


def _describe_gpus(torch: Any) -> Check:
    count = torch.cuda.device_count()
    names = []
    for index in range(count):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"{properties.name} ({properties.total_memory / GB:.0f} GB)")
    nccl = ".".join(str(part) for part in torch.cuda.nccl.version())
    found = f"{count}: {', '.join(names)}; CUDA {torch.version.cuda}, NCCL {nccl}"
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return Check("gpu", "warn", f"{found}; no bf16: train with trainer.precision=32")
    return Check("gpu", "ok", f"{found}, bf16")


def _requirements() -> dict[str, Any]:
    """Return what this distribution needs on this system: name -> Requirement."""
    from packaging.requirements import Requirement

    parsed = [Requirement(line) for line in importlib.metadata.requires("physioscale") or []]
    return {
        one.name: one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})
    }


def _version_problem(name: str, required: Any) -> str | None:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed; {required} is needed"
    if not required.specifier.contains(version, prereleases=True):
        return f"{name} {version}; {required} is needed"
    return None
