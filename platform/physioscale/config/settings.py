"""Settings: the flat list of (key, value) that YAML sections and `key=value` words become.

Each setting keeps the text it was written as, so that a string field receives `2024_01` and not the
number that YAML reads there, and the place it was written, so that a message can name it.

YAML is read as data only: no tags that build objects, no duplicate keys. Three surprises of YAML
1.1 are left out: `1e-4` is a number here (there a string), `010` is not octal and `1:30` is not
base 60, and a date stays the text that it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from physioscale.errors import InputError, MissingInputError

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Setting:
    """One value for one key."""

    keys: tuple[str, ...]
    """Path of the key: ("trainer", "max_steps")."""
    value: Any
    """The value as YAML reads it: a scalar, a list, or an empty mapping."""
    text: str | None
    """The scalar as it was written; None for a list or mapping."""
    source: str
    """Where it was written, for a person: a file and line, or the command line."""

    @property
    def key(self) -> str:
        """The path with dots: `trainer.max_steps`."""
        return ".".join(self.keys)


def read_yaml_settings(path: Path) -> list[Setting]:
    """Return the settings of a YAML file in the order of the file.

    Raises:
        InputError: the file is missing or unreadable, is not YAML, has a key twice, or is not a
            mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingInputError(
            str(path), found="no such file", expected="a YAML file", do="Check the path."
        ) from None
    except OSError as error:
        raise _not_yaml(str(path), f"it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise _not_yaml(str(path), f"byte {error.start} is not UTF-8") from None
    return _flatten(_compose(text, str(path)), str(path))


def parse_overrides(words: Iterable[str]) -> list[Setting]:
    """Return the settings of `key=value` words; each value is read as YAML.

    Raises:
        InputError: a word without `=`, without a key, or with a value that is not YAML.
    """
    return [_parse_override(word) for word in words]


def under(settings: Iterable[Setting], *prefix: str) -> list[Setting]:
    """Return the settings below `prefix`, with the prefix taken off their keys."""
    length = len(prefix)
    return [
        Setting(setting.keys[length:], setting.value, setting.text, setting.source)
        for setting in settings
        if setting.keys[:length] == prefix and len(setting.keys) > length
    ]


def _parse_override(word: str) -> Setting:
    key, equals, text = word.partition("=")
    keys = tuple(key.strip().split("."))
    if not equals or not all(keys):
        raise InputError(
            COMMAND_LINE,
            found=f"'{word}'",
            expected="key=value, for example trainer.max_steps=300",
            do="Write the key, '=' and the value without spaces around '='.",
        )
    node = _compose(text, f"{COMMAND_LINE}, {key}")
    loader = _Loader("")
    try:
        value = None if node is None else loader.construct(node, f"{COMMAND_LINE}, {key}")
    finally:
        loader.dispose()
    # A quoted scalar without its quotes; `a: b` for a text field stays the text that it is.
    written = node.value if isinstance(node, yaml.ScalarNode) else text.strip()
    return Setting(keys, value, written, COMMAND_LINE)


def _flatten(node: yaml.Node | None, source: str) -> list[Setting]:
    if not isinstance(node, yaml.MappingNode):
        raise _not_yaml(source, "no mapping at the top level")
    loader = _Loader("")
    try:
        return list(_walk(loader, node, (), source))
    finally:
        loader.dispose()


def _walk(
    loader: "_Loader", node: yaml.MappingNode, keys: tuple[str, ...], source: str
) -> Iterable[Setting]:
    loader.check_keys(node, source)
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        path = (*keys, str(key_node.value))
        place = f"{source} line {key_node.start_mark.line + 1}"
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            yield from _walk(loader, value_node, path, source)
        else:
            text = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
            yield Setting(path, loader.construct(value_node, source), text, place)


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise _not_yaml(f"{source}{line}", str(error.problem or error.context)) from None
    except yaml.YAMLError as error:
        raise _not_yaml(source, " ".join(str(error).split())) from None
    return node


def _not_yaml(where: str, found: str) -> InputError:
    return InputError(
        where, found=found, expected="plain YAML", do="Mend that place; nothing was read from it."
    )


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars described above and without repeated keys."""

    def check_keys(self, node: yaml.MappingNode, source: str) -> None:
        """Refuse a mapping in which a key stands twice: the first would be lost unseen."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            place = f"{source} line {key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise _not_yaml(place, "a key that is not a word")
            if key_node.value in seen:
                raise _not_yaml(place, f"the key '{key_node.value}' a second time")
            seen.add(key_node.value)

    def construct(self, node: yaml.Node, source: str) -> Any:
        """Return the value of a node."""
        for mapping in _mappings_inside(node):
            self.check_keys(mapping, source)
        try:
            return self.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            line = f" line {node.start_mark.line + 1}"
            raise _not_yaml(f"{source}{line}", str(error.problem)) from None


def _mappings_inside(node: yaml.Node) -> Iterable[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings_inside(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings_inside(value)


_NUMBERS_AND_DATES = ("int", "float", "timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0].rpartition(":")[2] not in _NUMBERS_AND_DATES]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9]+([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$"
        r"|^\.(nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
