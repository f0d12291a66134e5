"""Type hints of configuration fields: taken apart, and put into words for a message."""

import dataclasses
import enum
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def describe(hint: Any) -> str:
    """Return what a type hint asks for: "a whole number or null"."""
    inner = bare(hint)
    if inner in _NAMES:
        words = _NAMES[inner]
    elif dataclasses.is_dataclass(inner):
        words = f"a mapping with {first_few([field.name for field in dataclasses.fields(inner)])}"
    elif isinstance(inner, type) and issubclass(inner, enum.Enum):
        words = f"one of {first_few([member.name for member in inner])}"
    elif get_origin(inner) is Literal:
        words = f"one of {first_few([str(choice) for choice in get_args(inner)])}"
    elif element_of(inner) is not None:
        words = f"a list, each element {describe(element_of(inner))}"
    elif value_of(inner) is not None:
        words = f"a mapping, each value {describe(value_of(inner))}"
    else:
        words = "a mapping" if inner is Any else str(inner)
    return f"{words} or null" if is_optional(hint) else words


def bare(hint: Any) -> Any:
    """Return the type inside `X | None`, else the hint itself."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not types.NoneType]
        return inner[0] if len(inner) == 1 else hint
    return hint


def is_optional(hint: Any) -> bool:
    """Return whether null is a value of the type."""
    return types.NoneType in get_args(hint)


def element_of(hint: Any) -> Any:
    """Return the type of a list's elements, or None if the hint is not a list."""
    inner = bare(hint)
    return get_args(inner)[0] if get_origin(inner) in (list, tuple) and get_args(inner) else None


def value_of(hint: Any) -> Any:
    """Return the type of a mapping's values, or None if the hint is not a mapping."""
    inner = bare(hint)
    return get_args(inner)[1] if get_origin(inner) is dict and get_args(inner) else None


def first_few(names: Sequence[str], *, limit: int = 8) -> str:
    """Return the first names and the count of the rest."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
