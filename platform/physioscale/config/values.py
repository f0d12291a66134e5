"""Values of settings against type hints: what fits, and what is taken as it was written.

YAML's own reading is kept except in two cases: a text field gets the text as written, and a single
text stands for a list of one. Nothing else is converted; a whole number is also a number.
"""

from typing import Any

from physioscale.config.hints import bare, element_of, value_of
from physioscale.config.settings import Setting

SCALARS: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
}
"""Types of a YAML value that a field of a type takes."""


def as_written(hint: Any, setting: Setting) -> Any:
    """Return a setting's value as a field of type `hint` takes it."""
    if setting.value is None or setting.text is None or is_reference(setting.value):
        return setting.value
    if bare(hint) is str:
        return setting.text
    if element_of(hint) is str and not isinstance(setting.value, list):
        return [setting.text]
    return setting.value


def misfit(hint: Any, value: Any) -> str | None:
    """Return what of `value` is of another type than `hint` asks for, in words; None if all fits.

    Looks into lists and mappings: OmegaConf would convert their elements.
    """
    element = element_of(hint)
    if element is not None and isinstance(value, list):
        wrong = [part for part in value if misfit(element, part) is not None]
        return f"the element {show(wrong[0])}" if wrong else None
    if value_of(hint) is not None and isinstance(value, dict):
        found = {name: misfit(value_of(hint), part) for name, part in value.items()}
        return next((f"{name}: {text}" for name, text in found.items() if text is not None), None)
    if value is None or is_reference(value) or bare(hint) not in SCALARS:
        return None
    return None if type(value) in SCALARS[bare(hint)] else show(value)


def widened(hint: Any, value: Any) -> Any:
    """Return whole numbers as floats where floats are asked for, in lists and mappings as well."""
    if isinstance(value, list) and element_of(hint) is not None:
        return [widened(element_of(hint), part) for part in value]
    if isinstance(value, dict) and value_of(hint) is not None:
        return {name: widened(value_of(hint), part) for name, part in value.items()}
    return float(value) if bare(hint) is float and type(value) is int else value


def is_reference(value: Any) -> bool:
    """Return whether a value refers to another key by `${...}`."""
    if isinstance(value, list):
        return any(is_reference(element) for element in value)
    return isinstance(value, str) and "${" in value


def show(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
