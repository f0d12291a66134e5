"""A working recipe written from the template: a masked autoencoder of signal patches.

The template's files are ordinary modules with a few capital words to fill in, so that they are
linted and typed like the rest of the code.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from physioscale.recipes.header import KINDS, RecipeInfo, read_recipe_info, unknown_choice
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


def write_scaffold(folder: Path, *, name: str, kind: str, modality: str) -> RecipeInfo:
    """Write a recipe to `folder/name`, without its test, and return what its YAML says.

    Args:
        folder: Folder of recipe folders; made if missing.
        kind: One of the kinds of recipe: which shared checks will apply to it.
        modality: One of `CHANNEL_TYPES`.

    Raises:
        InputError: a name, kind or modality that does not exist, or a target that does.
    """
    check_name(name)
    if kind not in KINDS:
        raise unknown_choice("--kind", "kind", kind, KINDS)
    if modality not in CHANNEL_TYPES:
        raise unknown_choice("--modality", "modality", modality, tuple(CHANNEL_TYPES))
    words = _words(name, kind, modality)
    # Written beside the target and renamed: what was interrupted is never a recipe.
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as scratch:
        made = Path(scratch) / name
        made.mkdir()
        for source in sorted(TEMPLATE.iterdir()):
            if source.is_file() and source.name != TEST_FILE:
                (made / source.name).write_text(_filled(source, words), encoding="utf-8")
        made.rename(folder / name)
    return read_recipe_info(folder / name)


def scaffold_test(info: RecipeInfo) -> str:
    """Return the test file of a scaffold."""
    return _filled(TEMPLATE / TEST_FILE, _words(info.name, info.kind, info.modality[0]))


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
