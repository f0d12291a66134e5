"""`physioscale verify`: read shard sets from end to end and name every fault."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from physioscale.cli.command import Command
from physioscale.cli.output import print_json
from physioscale.cli.progress import amount, progress

if TYPE_CHECKING:
    from physioscale.contract.verify import VerifyReport

_SHOWN_FAULTS = 20
_FAULTY = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a shard set; several are also compared with each other",
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify the folders; 0 if they are sound, 1 if there is a fault."""
    from physioscale.contract.verify import num_bytes, verify_shard_sets

    folders = arguments.folders
    with progress("verify", total=num_bytes(folders), unit="bytes") as advance:
        report = verify_shard_sets(folders, on_bytes=advance)
    if arguments.json:
        print_json(report.to_json())
    else:
        _print_report(report)
    return _FAULTY if report.faults else 0


def _print_report(report: "VerifyReport") -> None:
    for fault in report.faults[:_SHOWN_FAULTS]:
        print(f"fault: {fault}")
    rest = len(report.faults) - _SHOWN_FAULTS
    if rest > 0:
        print(f"... and {_count(rest, 'more fault')}; --json prints all")
    for counts in report.counts:
        print(
            f"{counts.shard_set}: corpus {counts.corpus}, {_count(counts.shards, 'shard')}, "
            f"{_count(counts.segments, 'segment')}, {_count(counts.recordings, 'recording')}, "
            f"{_count(counts.subjects, 'subject')}, {counts.hours:.2f} h, "
            f"{amount(counts.num_bytes, 'bytes')}"
        )
    print(_count(len(report.faults), "fault") if report.faults else "sound")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


COMMAND = Command(
    name="verify",
    help="Read shard sets from end to end; name every fault, leak and unlisted file",
    example="physioscale verify shards/eegmat\nphysioscale verify shards/tuab shards/tuev --json",
    add_arguments=add_arguments,
    run=run,
)
