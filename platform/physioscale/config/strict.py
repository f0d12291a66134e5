"""Settings merged onto typed dataclasses with OmegaConf's structured mode; nothing passes unseen.

An unknown key, a value of another type and a mandatory key without a value are each a problem that
names the full key, where it was written, what was found and what was expected; all problems of a
configuration are collected and raised together. `${section.key}` references are resolved at the
end.

One deliberate kindness: a single text is accepted where a list of texts is expected
(`data.shards=folder`).
"""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from physioscale.config.hints import bare, describe, first_few, is_optional, value_of
from physioscale.config.problems import did_you_mean, raise_together
from physioscale.config.settings import Setting
from physioscale.config.values import as_written, is_reference, misfit, show, widened
from physioscale.errors import InputError

SchemaT = TypeVar("SchemaT")


def load_strict(schema: type[SchemaT], settings: Sequence[Setting], *, where: str) -> SchemaT:
    """Return an instance of the dataclass `schema` with `settings` merged onto its defaults.

    Args:
        where: What is being read, for the message about a mandatory key that nobody wrote.

    Raises:
        InputError: one or more problems, all of them named.
    """
    node = structured(schema)
    raise_together([*merge(node, settings), *unresolved(node, settings, where=where)])
    return typing.cast(SchemaT, build(node))


def structured(schema: Any) -> DictConfig:
    """Return the strict node of a dataclass or of an instance of one."""
    return typing.cast(DictConfig, OmegaConf.structured(schema))


def merge(root: DictConfig, settings: Iterable[Setting]) -> list[InputError]:
    """Set each setting in `root`, in order, and return the problems; later settings win."""
    problems: dict[str, InputError] = {}
    for setting in settings:
        problem = _set(root, setting)
        if problem is not None:
            problems.setdefault(problem.where, problem)
    return list(problems.values())


def unresolved(
    root: DictConfig, settings: Iterable[Setting], *, where: str
) -> Iterator[InputError]:
    """Yield a problem for each mandatory key without a value and each reference that fails."""
    missing = {
        full: hint for full, node, key, hint in _leaves(root) if OmegaConf.is_missing(node, key)
    }
    for full, hint in missing.items():
        yield InputError(
            f"{where}: {full}",
            found="no value",
            expected=describe(hint),
            do="It has no default: write it in the recipe's YAML or as key=value.",
        )
    for setting in settings:
        problem = _follow(root, setting) if is_reference(setting.value) else None
        if problem is not None:
            yield problem


def build(root: DictConfig) -> Any:
    """Return the dataclass instances of a node that has no problems."""
    return OmegaConf.to_object(root)


def _set(root: DictConfig, setting: Setting) -> InputError | None:
    """Walk down to the field of a setting and assign it; return the problem, if there is one."""
    node = root
    for depth, key in enumerate(setting.keys):
        hints = _hints(node)
        if key not in hints:
            return _unknown_key(root, node, setting, depth)
        hint, rest = hints[key], setting.keys[depth + 1 :]
        if _holds_section(node, key, hint):
            if not rest:
                return _set_section(root, node, hint, setting)
            node = _section(node, key, hint)
        elif rest and value_of(hint) is None:
            dotted = ".".join(setting.keys[: depth + 1])
            return _wrong(setting, found="a mapping", hint=hint, key=dotted)
        else:
            return _set_leaf(node, key, hint, setting, rest)
    return None


def _set_section(
    root: DictConfig, node: DictConfig, hint: Any, setting: Setting
) -> InputError | None:
    if isinstance(setting.value, dict):
        inner = [
            Setting((*setting.keys, str(name)), value, None, setting.source)
            for name, value in setting.value.items()
        ]
        return next(iter(merge(root, inner)), None)
    if setting.value is None and is_optional(hint):
        node[setting.keys[-1]] = None
        return None
    return _wrong(setting, found=show(setting.value), hint=hint, key=setting.key)


def _set_leaf(
    node: DictConfig, key: str, hint: Any, setting: Setting, rest: tuple[str, ...]
) -> InputError | None:
    inner = hint
    for _ in rest:
        inner = value_of(inner)
    if rest and inner is None:
        return _wrong(setting, found="a mapping", hint=hint, key=setting.key)
    value = as_written(inner, setting)
    if value is None and not is_optional(inner):
        return _wrong(setting, found="null", hint=inner, key=setting.key)
    found = misfit(inner, value)
    if found is not None:
        do = "Quote what is meant as text." if "text" in describe(inner) else "Correct the value."
        return _wrong(setting, found=found, hint=inner, key=setting.key, do=do)
    value = widened(inner, value)
    try:
        node[key] = _nested(node, key, rest, value) if rest else value
    except OmegaConfBaseException:
        return _wrong(setting, found=show(setting.value), hint=inner, key=setting.key)
    return None


def _nested(node: DictConfig, key: str, rest: tuple[str, ...], value: Any) -> Any:
    """Return the free-form mapping at `key` with `value` set below it."""
    present = _present(node, key)
    merged = {} if present is None else typing.cast(Any, OmegaConf.to_container(present))
    inner = merged
    for name in rest[:-1]:
        if not isinstance(inner.get(name), dict):
            inner[name] = {}
        inner = inner[name]
    inner[rest[-1]] = value
    return merged


def _holds_section(node: DictConfig, key: str, hint: Any) -> bool:
    return dataclasses.is_dataclass(bare(hint)) or _is_section(_present(node, key))


def _section(node: DictConfig, key: str, hint: Any) -> DictConfig:
    if _present(node, key) is None:
        node[key] = structured(bare(hint))
    return typing.cast(DictConfig, node[key])


def _unknown_key(root: DictConfig, node: DictConfig, setting: Setting, depth: int) -> InputError:
    key, siblings = setting.keys[depth], list(_hints(node))
    section = ".".join(setting.keys[:depth])
    near = did_you_mean(key, siblings)
    if not near:
        last = f".{setting.keys[-1]}"
        elsewhere = [full for full, *_ in _leaves(root) if full.endswith(last)]
        near = f"Did you mean '{elsewhere[0]}'? " if elsewhere else ""
    return InputError(
        f"{'.'.join(setting.keys[: depth + 1])} ({setting.source})",
        found=f"unknown key '{key}'" + (f" in section '{section}'" if section else ""),
        expected=f"one of {first_few(siblings, limit=20)}",
        do=f"{near}`physioscale show RECIPE` prints all keys of a recipe.",
    )


def _wrong(
    setting: Setting, *, found: str, hint: Any, key: str, do: str = "Correct the value."
) -> InputError:
    return InputError(f"{key} ({setting.source})", found=found, expected=describe(hint), do=do)


def _follow(root: DictConfig, setting: Setting) -> InputError | None:
    node: Any = root
    try:
        for key in setting.keys:
            node = node[key]
        if OmegaConf.is_config(node):
            OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        return InputError(
            f"{setting.key} ({setting.source})",
            found=f"{show(setting.value)}: {str(error).splitlines()[0]}",
            expected="a reference to another key of this configuration, of the same type",
            do="Write it as ${section.key}.",
        )
    return None


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig, str, Any]]:
    """Yield (dotted key, node that holds it, key, type hint) of each field that is no section."""
    for key, hint in _hints(node).items():
        child = _present(node, key)
        if _is_section(child):
            yield from _leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", node, key, hint


def _hints(node: DictConfig) -> dict[str, Any]:
    """Return the type hints of the fields of a node's dataclass, in their order."""
    schema = typing.cast(Any, OmegaConf.get_type(node))
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def _present(node: DictConfig, key: str) -> Any:
    """Return the value at `key`; None if it is missing or a reference to another key."""
    if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
        return None
    return node[key]


def _is_section(node: Any) -> typing.TypeGuard[DictConfig]:
    return isinstance(node, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(node))
