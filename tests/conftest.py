"""Settings shared by all tests: real recordings, required markers, a cache of their own."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

REALDATA = "PHYSIOSCALE_REALDATA"
REQUIRE = "PHYSIOSCALE_REQUIRE"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Return the folder of real recordings, or skip."""
    folder = os.environ.get(REALDATA, "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"no real recordings: {REALDATA}={folder!r} names no folder")
    return Path(folder)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compact indexes out of the user's cache folder, in sub-processes as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHYSIOSCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test whose marker is required, as CI asks for."""
    report = yield
    required = set(os.environ.get(REQUIRE, "").split())
    missed = sorted(required & {mark.name for mark in item.iter_markers()})
    if report.skipped and missed:
        report.outcome = "failed"
        report.longrepr = (
            f"{REQUIRE} asks for {', '.join(missed)}, but it skipped: {report.longrepr}"
        )
    return report
