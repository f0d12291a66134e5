"""Progress on standard error: a line now and then, and a bar on a terminal."""

import sys
import time

import pytest

from physioscale.cli.progress import amount, progress


def test_off_a_terminal_a_line_appears_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 5.5, 6.0, 11.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress("verify", total=4000, unit="bytes") as advance:
        for _ in range(4):
            advance(1000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["verify: 50 % of 4 kB", "verify: 100 % of 4 kB"]


@pytest.mark.parametrize("unit", ["windows", "bytes"])
def test_on_a_terminal_a_bar_ends_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unit: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress("encode", total=3000, unit=unit) as advance:
        advance(1000)
        advance(2000)
    text = capsys.readouterr().err
    assert "encode" in text
    assert ("3000/3000" if unit == "windows" else "3.0/3.0 kB") in text


def test_an_empty_job_is_no_division_by_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("encode", total=0) as advance:
        advance(0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "unit", "text"),
    [
        (37, "steps", "37 steps"),
        (5, "", "5"),
        (0, "bytes", "0 B"),
        (999, "bytes", "999 B"),
        (1000, "bytes", "1 kB"),
        (1_234_567, "bytes", "1.23 MB"),
        (5_000_000_000, "bytes", "5 GB"),
        (12_000_000_000_000, "bytes", "12 TB"),
    ],
)
def test_amounts_carry_their_unit(count: int, unit: str, text: str) -> None:
    assert amount(count, unit) == text
