"""A working recipe written from the template: a masked autoencoder of signal patches.

The template's files are ordinary modules with a few capital words to fill in, so that they are
linted and typed like the rest of the code.
"""

from collections.abc import Mapping
from pathlib import Path

from physioscale.recipes.header import KINDS, unknown_choice
from physioscale.recipes.loader import check_name

TEMPLATE = Path(__file__).resolve().parent / "templates" / "masked_autoencoder"
TEST_FILE = "test_recipe.py"

CHANNEL_TYPES: dict[str, tuple[str, ...]] = {
    "eeg": ("eeg",),
    "ieeg": ("ecog", "seeg"),
    "meg": ("mag",),
    "ecg": ("ecg",),
    "emg": ("emg",),
    "ppg": ("ppg",),
}
"""Modalities that a scaffold can be written for, and the channel types that each reads."""


def check_choices(*, name: str, kind: str, modality: str) -> None:
    """Check what a scaffold is asked to be.

    Raises:
        InputError: a name, kind or modality that does not exist.
    """
    check_name(name)
    if kind not in KINDS:
        raise unknown_choice("--kind", "kind", kind, KINDS)
    if modality not in CHANNEL_TYPES:
        raise unknown_choice("--modality", "modality", modality, tuple(CHANNEL_TYPES))


def write_scaffold(folder: Path, *, name: str, kind: str, modality: str) -> None:
    """Write the files of a recipe, without its test, into the new folder `folder`.

    Args:
        folder: Made here; it need not be called `name` yet.
        name: Name of the recipe.
        kind: One of the kinds of recipe: which shared checks will apply to it.
        modality: One of `CHANNEL_TYPES`.

    Raises:
        InputError: a name, kind or modality that does not exist.
    """
    check_choices(name=name, kind=kind, modality=modality)
    words = _words(name, kind, modality)
    folder.mkdir()
    for source in sorted(TEMPLATE.iterdir()):
        if source.is_file() and source.name != TEST_FILE:
            (folder / source.name).write_text(_filled(source, words), encoding="utf-8")


def scaffold_test(*, name: str, kind: str, modality: str) -> str:
    """Return the test file of a scaffold."""
    return _filled(TEMPLATE / TEST_FILE, _words(name, kind, modality))


def _words(name: str, kind: str, modality: str) -> dict[str, str]:
    # Imported here: the contract brings pyarrow, which listing recipes does without.
    from physioscale.contract.schema import UNITS_OF_TYPE

    types = CHANNEL_TYPES[modality]
    units = dict.fromkeys(UNITS_OF_TYPE[channel_type][0] for channel_type in types)
    return {
        "RECIPE_NAME": name,
        "RECIPE_KIND": kind,
        "RECIPE_MODALITY": modality,
        "CHANNEL_TYPES": f"[{', '.join(types)}]",
        "CHANNEL_UNITS": "[" + ", ".join(f'"{unit}"' for unit in units) + "]",
    }


def _filled(source: Path, words: Mapping[str, str]) -> str:
    text = source.read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text
