"""`physioscale doctor`: is this machine fit to convert and to train?

Every check is one line with a verdict: ok, warn (it works, with the limit that is named) or fail
(it will not work). The exit status is 1 only if a check fails.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterable

from physioscale.cli.command import Command
from physioscale.cli.environment import (
    Check,
    check_cpu,
    check_disk,
    check_encoding,
    check_gpus,
    check_memory,
    check_other_packages,
    check_package,
    check_python,
    check_shared_memory,
)
from physioscale.cli.output import aligned, print_json

NAMED_PACKAGES = ("torch", "lightning", "deepspeed", "mne", "webdataset")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    checks = list(run_checks())
    worst = worst_verdict(checks)
    if arguments.json:
        rows = [dataclasses.asdict(check) for check in checks]
        print_json({"verdict": worst, "checks": rows})
    else:
        for line in aligned([[check.verdict, check.name, check.found] for check in checks]):
            print(line)
        print(f"verdict: {worst}")
    return 1 if worst == "fail" else 0


def run_checks() -> Iterable[Check]:
    """Yield every check in the order of the report."""
    checks: list[Callable[[], Check]] = [
        check_python,
        *((lambda name=name: check_package(name)) for name in NAMED_PACKAGES),
        lambda: check_other_packages(without=NAMED_PACKAGES),
        check_cpu,
        check_memory,
        check_gpus,
        check_shared_memory,
        check_disk,
        check_encoding,
    ]
    for check in checks:
        yield check()


def worst_verdict(checks: Iterable[Check]) -> str:
    """Return the worst verdict among the checks."""
    verdicts = {check.verdict for check in checks}
    return next((verdict for verdict in ("fail", "warn") if verdict in verdicts), "ok")


COMMAND = Command(
    name="doctor",
    help="Check this machine: packages, memory, GPUs, disk, encoding",
    example="physioscale doctor\nphysioscale doctor --json",
    add_arguments=add_arguments,
    run=run,
)
