"""Problems of a configuration: collected, then raised together."""

from collections.abc import Iterable, Sequence

from physioscale.errors import InputError, suggest


class ConfigurationError(InputError):
    """Several problems of one configuration; each names its key and where it was written."""

    def __init__(self, problems: Sequence[InputError]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "configuration",
            found=f"{len(self.problems)} problems",
            expected="none",
            do="\n".join(f"  - {problem}" for problem in self.problems),
        )

    def __str__(self) -> str:
        return f"{self.found} in the configuration:\n{self.do}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems,)


def raise_together(problems: Iterable[InputError]) -> None:
    """Raise one error for all `problems`; return if there are none.

    Raises:
        InputError: the problem itself if it is alone.
        ConfigurationError: several problems.
    """
    found = list(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise ConfigurationError(found)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return "Did you mean 'x'? " for the choice nearest to `name`, or an empty string."""
    near = suggest(name, choices).removeprefix("; ")
    return f"D{near[1:]} " if near else ""
