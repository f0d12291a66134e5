"""`make bench`: measure physioscale beside its peers and write the result files.

    python -m tests.benchmarks.run [conversion] [streaming] [--quick] [--date 2026-11-20]

Run from the root of the checkout, in the environment that `make bench` sets up.
"""

import argparse
import datetime
import time
from collections.abc import Callable

from tests.benchmarks import conversion, streaming
from tests.benchmarks.report import load_now, machine_lines, write

_REPEATS, _QUICK_REPEATS = 5, 2
_WHAT: dict[str, tuple[str, Callable[..., list[str]]]] = {
    "conversion": ("Conversion of EDF and BDF into shards", conversion.measure),
    "streaming": ("Shuffled streaming of windows", streaming.measure),
}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*_WHAT, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="small data, two repeats")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the files")
    arguments = parser.parse_args()
    repeats = _QUICK_REPEATS if arguments.quick else _REPEATS
    for name in arguments.what or _WHAT:
        title, measure = _WHAT[name]
        load, begun_s = load_now(), time.monotonic()
        lines = measure(repeats=repeats, quick=arguments.quick)
        wall_s = time.monotonic() - begun_s
        facts = machine_lines(load_before=load, repeats=repeats, wall_s=wall_s)
        date = datetime.date.fromisoformat(arguments.date).isoformat()
        suffix = "-quick" if arguments.quick else ""
        text = [f"# {title}, {date}{suffix.replace('-', ', ')}", "", *facts, "", *lines]
        path = write(f"{name}{suffix}", text[:-1], date=date)
        print(f"\n{path}\n" + "\n".join(text))


if __name__ == "__main__":
    main()
