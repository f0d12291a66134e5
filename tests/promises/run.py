"""`make promises`: try every promise in full, and write down what came of it.

    python -m tests.promises.run [--only R1 R8] [--minutes 180] [--date 2026-11-20]

Run from the root of the checkout. Each promise runs in a process of its own. What has passed is
kept in a journal and is not tried again while the code is the same, so a run that was stopped goes
on where it was. The results file is written anew after every promise: whenever the run ends, it
tells what was done, what failed and what was not run.
"""

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.promises.results_file import Promise, result_lines

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
JOURNAL = ROOT / "build" / "promises.jsonl"

_CODE = ("platform", "sharding", "tests/promises")
_SUFFIXES = (".py", ".yaml", ".json")
_MOST_MINUTES = 180.0
_ONE_TEST_S = 3600


def main() -> int:
    """Try what is asked for; 0 if all of it passed, 1 if one failed, 2 if the time was up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="R", help="promises, for example R1 R8")
    parser.add_argument(
        "--minutes", type=float, default=_MOST_MINUTES, help="begin no promise after so long"
    )
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the file")
    arguments = parser.parse_args()
    date = datetime.date.fromisoformat(arguments.date).isoformat()
    until = time.monotonic() + 60 * arguments.minutes
    code = _code_hash()
    JOURNAL.parent.mkdir(exist_ok=True)
    promises = _collect(code)
    for promise in promises:
        is_asked = not arguments.only or promise.number in arguments.only
        if is_asked and promise.outcome != "passed" and time.monotonic() < until:
            print(f"{promise.number}: {promise.test}", flush=True)
            _try(promise, code)
            promise.load(_last_end(promise.test, code))
            print(f"    {promise.outcome}", flush=True)
        _write(promises, date=date)
    path = _write(promises, date=date)
    print(f"{path}\n{path.read_text(encoding='utf-8')}")
    asked = [p for p in promises if not arguments.only or p.number in arguments.only]
    if any(promise.outcome == "failed" for promise in asked):
        return 1
    return 2 if any(promise.outcome == "not run" for promise in asked) else 0


def _collect(code: str) -> list[Promise]:
    """Return all promises, with what the journal knows of them for this very code."""
    listing = JOURNAL.with_name("promises-asked.jsonl")
    listing.unlink(missing_ok=True)
    done = _pytest(["--collect-only", "tests/promises"], journal=listing, quiet=True)
    if done != 0:
        raise SystemExit("the promises cannot be collected: run `pytest tests/promises`")
    asked = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    promises = [
        Promise(test=one["test"], number=one["promise"], asked=one["asked"], count=one["count"])
        for one in asked
    ]
    promises.sort(key=lambda promise: (int(promise.number.removeprefix("R")), promise.test))
    for promise in promises:
        promise.load(_last_end(promise.test, code))
    return promises


def _try(promise: Promise, code: str) -> None:
    """Run one promise; a process that dies without a word has failed."""
    part = JOURNAL.with_name("promises-part.jsonl")
    part.unlink(missing_ok=True)
    begun = time.monotonic()
    status = _pytest([promise.test], journal=part)
    lines = part.read_text(encoding="utf-8").splitlines() if part.is_file() else []
    ends = [one for one in map(json.loads, lines) if one["event"] == "ended"]
    if not ends:
        reason = f"its process ended with status {status}"
        seconds = time.monotonic() - begun
        ends = [{"event": "ended", "outcome": "failed", "reason": reason, "seconds": seconds}]
    with JOURNAL.open("a", encoding="utf-8") as file:
        for one in ends:
            file.write(f"{json.dumps({**one, 'test': promise.test, 'code': code})}\n")


def _last_end(test: str, code: str) -> dict[str, Any] | None:
    """Return what the journal last says of a test under this code."""
    if not JOURNAL.is_file():
        return None
    lines = map(json.loads, JOURNAL.read_text(encoding="utf-8").splitlines())
    ends = [one for one in lines if one["test"] == test and one["code"] == code]
    return ends[-1] if ends else None


def _pytest(words: Sequence[str], *, journal: Path, quiet: bool = False) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-o", f"timeout={_ONE_TEST_S}", *words]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PHYSIOSCALE_PROMISES": "full",
        "PHYSIOSCALE_PROMISES_JOURNAL": str(journal),
    }
    stdout = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=stdout, check=False).returncode


def _code_hash() -> str:
    """Return a hash of the code that the promises are about, and of the promises themselves."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _SUFFIXES and path.is_file():
                digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _write(promises: Sequence[Promise], *, date: str) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date}.md"
    lines = result_lines(promises, date=date, root=ROOT, code=_code_hash())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    raise SystemExit(main())
