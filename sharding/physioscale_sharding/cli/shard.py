"""`physioscale shard`: convert a corpus of recordings into a shard set."""

import argparse
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from physioscale.cli.command import Command
from physioscale.errors import InputError

if TYPE_CHECKING:
    from physioscale_sharding.convert import Outcome, Task
    from physioscale_sharding.request import Request

_TOO_MANY_LOST = 1
_BIDS_FILE = "dataset_description.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder with the recordings")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the shard set, new"
    )
    parser.add_argument(
        "--corpus",
        dest="definition",
        metavar="NAME",
        help="corpus definition, by name or YAML file (default: bids for a BIDS tree, else folder)",
    )
    parser.add_argument("--name", help="name of the corpus in the shard set (default: CORPUS's)")
    parser.add_argument(
        "--profile", default="eeg-wide", metavar="P", help="profile, by name or YAML file"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value of the profile, for example --set shard_mb=64",
    )
    parser.add_argument(
        "--split", metavar="val=0.2,test=0.2", help="shares of the subjects; also rule= and seed="
    )
    parser.add_argument(
        "--subject-pattern",
        metavar="RE",
        help="plain folders: pattern of the relative path with a group (?P<subject>...)",
    )
    parser.add_argument(
        "--subject-key", type=Path, metavar="FILE", help="file with the secret of hashed names"
    )
    parser.add_argument("--workers", type=_positive, metavar="N", help="processes (default: cores)")
    parser.add_argument(
        "--task", type=_task, metavar="I/N", help="do every N-th item from I (0 to N-1) only"
    )
    parser.add_argument(
        "--max-quarantined",
        type=_share,
        default=0.5,
        metavar="SHARE",
        help="status 1 when more of the files could not be converted (default: 0.5)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    parser.add_argument(
        "--show-names",
        action="store_true",
        help="print the names of files although the shard set hashes them: they may be patients'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert; 0, or 1 when nothing or too little could be converted."""
    from physioscale_sharding.cli.summary import outcome_lines, plan_lines
    from physioscale_sharding.convert import convert_corpus
    from physioscale_sharding.pool import default_workers
    from physioscale_sharding.request import find, plan_corpus

    request = _request(arguments)
    workers = arguments.workers or default_workers()
    if arguments.dry_run:
        found = find(request)
        plan = plan_corpus(found, num_workers=workers, progress=_progress)
        print("\n".join(plan_lines(plan, found, show_names=arguments.show_names)))
        return 0
    outcome = convert_corpus(
        request,
        out=arguments.out,
        num_workers=workers,
        task=_as_task(arguments.task),
        progress=_progress,
    )
    lines = outcome_lines(outcome, out=arguments.out, show_names=arguments.show_names)
    print("\n".join(lines))
    return _status(outcome, most=arguments.max_quarantined)


def _request(arguments: argparse.Namespace) -> "Request":
    from physioscale.config.settings import parse_overrides
    from physioscale_sharding.corpus import load_definition
    from physioscale_sharding.identity import DEFAULT_KEY, read_key
    from physioscale_sharding.profile import load_profile
    from physioscale_sharding.request import Request

    root: Path = arguments.corpus
    shares = arguments.split.split(",") if arguments.split else []
    words = [*arguments.set, *(f"split.{share.strip()}" for share in shares)]
    generic = "bids" if (root / _BIDS_FILE).is_file() else "folder"
    definition = load_definition(arguments.definition or generic)
    own_name = _corpus_name(root) if definition.is_generic else definition.name
    return Request(
        root=root,
        definition=definition,
        corpus=_checked_name(arguments.name or own_name),
        profile=load_profile(arguments.profile, overrides=parse_overrides(words)),
        subject_pattern=arguments.subject_pattern,
        key=DEFAULT_KEY if arguments.subject_key is None else read_key(arguments.subject_key),
    )


def _corpus_name(root: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "_", root.resolve().name.lower()).strip("_")[:40] or "corpus"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise InputError(
            "--name",
            found=f"'{name}'",
            expected="1 to 40 letters, digits, '_' and '-'",
            do="Choose another name for the corpus.",
        )
    return name


def _status(outcome: "Outcome", *, most: float) -> int:
    if outcome.num_items_left:
        return 0
    if outcome.info is None:
        return _TOO_MANY_LOST
    return _TOO_MANY_LOST if outcome.info.quarantined > most * outcome.found.num_files else 0


def _progress(what: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
    from physioscale.cli.progress import progress

    return progress(what, total=total, unit=unit)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}'; expected a whole number above 0")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"'{text}'; expected a share from 0 to 1")
    return share


def _task(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"'{text}'; expected I/N with I from 0 to N-1")
    return int(index), int(count)


def _as_task(words: tuple[int, int] | None) -> "Task | None":
    from physioscale_sharding.convert import Task

    return None if words is None else Task(*words)


COMMAND = Command(
    name="shard",
    help="Convert a corpus of recordings into a shard set, or go on with a stopped conversion",
    example=(
        "physioscale shard data/eegmat --corpus eegmat --out shards/eegmat\n"
        "physioscale shard my_edf_folder --subject-pattern '(?P<subject>S\\d+)' "
        "--out shards/mine --dry-run"
    ),
    add_arguments=add_arguments,
    run=run,
)
