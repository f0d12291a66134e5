"""The errors that a user, a file or a configuration can cause.

A message has four parts: where, what was found, what was expected, what to do. The command line
prints an `InputError` without a traceback and exits with 2; any other exception is a fault of ours
and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: a value, a file or a setting that the caller can mend."""

    def __init__(self, where: str, *, found: str, expected: str, do: str) -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.do = do
        super().__init__(f"{where}: {found}; expected {expected}. {do}")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders by pickle, which replays positional arguments only.
        return _rebuild, (type(self), self.where, self.found, self.expected, self.do)


class MissingInputError(InputError, FileNotFoundError):
    """A file or folder that was named does not exist."""

    # OSError formats itself from (errno, strerror); the four-part message is what a reader needs.
    __str__ = ValueError.__str__


def _rebuild(kind: type[InputError], where: str, found: str, expected: str, do: str) -> InputError:
    return kind(where, found=found, expected=expected, do=do)


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
