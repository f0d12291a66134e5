"""What all promises share: how often each is tried, and a record of what came of it.

A promise is a test with the marker `promise`: its number, what is asked in full, and two counts.

    @pytest.mark.promise("R2", asked="50 random stops over 3 epochs", full=50, small=5)
    def test_stops(count: int, figure: Figure) -> None: ...

`count` is the small one in `make test` and the full one with PHYSIOSCALE_PROMISES=full, which
`make promises` sets. With PHYSIOSCALE_PROMISES_JOURNAL=FILE, what was collected and what came of it
is appended to that file, a JSON object a line.
"""

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from physioscale.cli.main import main
from physioscale.config import RunConfig
from physioscale.testing.streams import stream_config

TIER = "PHYSIOSCALE_PROMISES"
JOURNAL = "PHYSIOSCALE_PROMISES_JOURNAL"

Figure = Callable[[str, object], None]


def is_full() -> bool:
    """Return whether the full counts are asked for."""
    tier = os.environ.get(TIER, "small")
    if tier not in ("small", "full"):
        raise pytest.UsageError(f"{TIER}={tier!r}; expected small or full")
    return tier == "full"


@pytest.fixture
def full() -> bool:
    """Return whether this is the full tier, where times are held against the promise."""
    return is_full()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    """Return how often the promise of this test is to be tried."""
    return int(_facts(request.node)["count"])


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Return a function that notes a measured figure for the results file."""
    return record_property


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Return `stream_config` with a cache of this test's own."""

    def build(*folders: Path, **settings: Any) -> RunConfig:
        return stream_config(*folders, cache_dir=tmp_path / "cache", **settings)

    return build


@pytest.fixture
def shard() -> Callable[..., int]:
    """Return a function that runs `physioscale shard` in this process and returns its status."""

    def run(root: Path, out: Path, *words: str, workers: int = 1) -> int:
        return main(["shard", str(root), "--out", str(out), "--workers", str(workers), *words])

    return run


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write down which promises there are."""
    for item in items:
        if item.get_closest_marker("promise"):
            _write({"event": "asked", **_facts(item)})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down what came of a promise."""
    report = yield
    ended = report.when == "call" or report.outcome != "passed"
    if ended and item.get_closest_marker("promise"):
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = str(crash.message) if crash is not None else str(report.longrepr or "")
        _write(
            {
                "event": "ended",
                **_facts(item),
                "outcome": report.outcome,
                "seconds": report.duration,
                "figures": dict(report.user_properties),
                "reason": reason,
            }
        )
    return report


def _facts(item: pytest.Item) -> dict[str, Any]:
    marker = item.get_closest_marker("promise")
    if marker is None:
        raise pytest.UsageError(f"{item.nodeid}: no marker `promise`")
    counts = marker.kwargs
    return {
        "test": item.nodeid,
        "promise": marker.args[0],
        "asked": counts["asked"],
        "count": counts["full"] if is_full() else counts["small"],
    }


def _write(event: dict[str, Any]) -> None:
    journal = os.environ.get(JOURNAL)
    if journal:
        with Path(journal).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(event, sort_keys=True, default=str)}\n")
