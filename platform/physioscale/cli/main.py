"""The console script: one parser from all entry points, and the exit status.

Exit status: what the command returns; 2 for a user's mistake, or a file or disk that the system
refuses (printed without a traceback); 130 after Ctrl-C. Any other exception is a fault of ours and
keeps its traceback.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from physioscale import __version__
from physioscale.cli.command import COMMANDS_GROUP, Command
from physioscale.errors import InputError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNFIT = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: Words after the program's name; None takes those of this process.
    """
    try:
        parsed = _parse(build_parser(load_commands()), arguments)
        status: int = parsed.run(parsed)
        # Flushed here, so that a closed pipe shows inside this try and not at interpreter exit.
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; nothing is left to say and to no one.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        refused = refusal(error)
        if refused is None:
            raise
        print(f"error: {refused}", file=sys.stderr)
        return EXIT_USER_ERROR
    return status


def refusal(error: OSError) -> InputError | None:
    """Return what the system refused, in four parts; None where the fault may be ours."""
    if error.errno in _CLOSED:
        do = "Change its permissions, or name another place."
    elif error.errno in _FULL:
        do = "Make room, or name another place: files that were finished are whole."
    elif error.errno in _UNFIT:
        do = "Check the path and the disk."
    else:
        return None
    return InputError(
        "the file system" if error.filename is None else os.fsdecode(error.filename),
        found=f"the system refuses it ({error.strerror})",
        expected="files that can be read, and a place that can be written",
        do=do,
    )


def load_commands() -> list[Command]:
    """Return the commands of every installed distribution, ordered by name."""
    found = {entry.name: entry.load() for entry in entry_points(group=COMMANDS_GROUP)}
    for name, command in found.items():
        if not isinstance(command, Command) or command.name != name:
            raise TypeError(f"entry point '{name}' of {COMMANDS_GROUP} is not a Command '{name}'")
    return [found[name] for name in sorted(found)]


def build_parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    """Return the parser of `physioscale` with one sub-parser for each command."""
    parser = argparse.ArgumentParser(
        prog="physioscale",
        description="Distributed pretraining of large encoders of brain and heart signals.",
        epilog="`physioscale COMMAND --help` shows the arguments and an example.",
    )
    parser.add_argument("--version", action="version", version=f"physioscale {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help}.",
            epilog=f"example:\n{_indented(command.example)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _parse(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the words; `key=value` may stand before and after options."""
    parsed, rest = parser.parse_known_args(words)
    # argparse takes a list of positionals in one piece and calls what follows an option unknown.
    if rest and hasattr(parsed, "overrides") and not any(word.startswith("-") for word in rest):
        parsed.overrides = [*parsed.overrides, *rest]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return parsed


def _indented(example: str) -> str:
    return "\n".join(f"  {line}" for line in example.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
