"""R15: the memory of a conversion does not grow with its input."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from physioscale.testing import write_edf

Figure = Callable[[str, object], None]

MEASURED = """
import sys
from pathlib import Path
from physioscale.cli.main import main
status = main(sys.argv[2:])
peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
Path(sys.argv[1]).write_text(peak.split()[1])
sys.exit(status)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.promise(
    "R15",
    asked="a tile repeated to 10 GB converts under 2 GB resident; 0.5 and 2 GB inputs: <= 5 %",
    full=10_000,
    small=48,
)
def test_memory_does_not_grow_with_the_input(
    tmp_path: Path, count: int, full: bool, figure: Figure
) -> None:
    """`count` is the size of the largest input in MB."""
    sizes_mb = (500, 2000, count) if full else (count // 4, count)
    peaks_mb = []
    for size_mb in sizes_mb:
        root = tmp_path / f"{size_mb}"
        _write_tiles(root / "s1" / "a.edf", size_mb=size_mb)
        peaks_mb.append(_peak_mb(root, tmp_path / f"out-{size_mb}", tmp_path / "peak"))
        shutil.rmtree(root)
        shutil.rmtree(tmp_path / f"out-{size_mb}")
    for size_mb, peak_mb in zip(sizes_mb, peaks_mb, strict=True):
        figure(f"peak at {size_mb} MB", f"{peak_mb:.0f} MB")
    assert peaks_mb[1] <= 1.05 * peaks_mb[0]
    assert peaks_mb[-1] < 2000


def _write_tiles(path: Path, *, size_mb: int) -> None:
    """Write an EDF file of about that size: 19 channels at 256 Hz, a minute over and over."""
    noise = np.random.default_rng(15).normal(0, 20, (19, 256 * 60))
    labels = [f"EEG {n}" for n in range(19)]
    write_edf(path, noise, labels=labels, sampling_rate_hz=256.0, record_duration_s=1.0)
    header, tile = path.read_bytes()[: 256 * 20], path.read_bytes()[256 * 20 :]
    repeats = max(1, round(size_mb * 1e6 / len(tile)))
    records = f"{repeats * 60}".ljust(8).encode()
    with path.open("wb") as file:
        file.write(header[:236] + records + header[244:])
        for _ in range(repeats):
            file.write(tile)


def _peak_mb(root: Path, out: Path, peak: Path) -> float:
    """Return the largest resident set (MB) of a conversion in a fresh process."""
    words = ["shard", str(root), "--out", str(out), "--workers", "1"]
    subprocess.run(
        [sys.executable, "-c", MEASURED, str(peak), *words],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=3000,
    )
    return int(peak.read_text()) * 1024 / 1e6
