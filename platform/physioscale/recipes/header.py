"""The part of a `recipe.yaml` that says what the recipe is; reading it imports nothing heavy.

The other sections of the file (`model`, `data`, ...) stay settings until a run is resolved: their
types are known only to the recipe's own code.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from physioscale.config.problems import did_you_mean, raise_together
from physioscale.config.settings import Setting, read_yaml_settings, under
from physioscale.config.strict import load_strict
from physioscale.errors import InputError

RECIPE_FILE = "recipe.yaml"

KINDS = ("encoder", "tokenizer", "classifier", "generator", "decoder", "estimator", "protocol")
EQUIVALENCES = ("global_batch", "micro_batches", "gathered")
SECTIONS = (
    "accepts",
    "data",
    "load",
    "model",
    "objective",
    "optimizer",
    "schedule",
    "tracking",
    "trainer",
)
"""Sections of a run that a recipe may fill, for all variants or inside one."""

TOP_LEVEL = ("recipe", "variants", "default_variant", *SECTIONS)


@dataclass
class RecipeHeader:
    """The section `recipe` of a recipe.yaml."""

    title: str = MISSING
    """One line for a person."""
    paper: str = MISSING
    """Authors, title, venue and year."""
    kind: str = MISSING
    """What it is: decides which shared checks apply."""
    modality: list[str] = MISSING
    """Modalities it was made for: eeg, ecg, ..."""
    url: str | None = None
    """Where the paper is."""
    equivalence: str = "global_batch"
    """What N ranks equal: global_batch (one rank), micro_batches (one rank accumulating the same
    micro-batches) or gathered (one rank, with negatives of all ranks)."""
    stages: list[str] = field(default_factory=lambda: ["pretrain"])
    """Stages of training, in their order."""


@dataclass
class VariantHeader:
    """What a variant says of itself."""

    description: str = MISSING
    """One line for a person."""
    paper_parameters: str | None = None
    """The paper's figure, as it prints it."""
    encoder_parameters: int | None = None
    """Encoder parameters counted from the paper's description."""


@dataclass(frozen=True)
class Variant:
    """A named size of a recipe."""

    name: str
    description: str
    paper_parameters: str | None
    """The paper's figure, as it prints it; None if it gives none."""
    encoder_parameters: int | None
    """Encoder parameters counted from the paper's description; None if nobody counted."""
    settings: tuple[Setting, ...]
    """What the variant changes: settings of the sections of a run."""


@dataclass(frozen=True)
class RecipeInfo:
    """What a recipe.yaml says, before any code of the recipe is imported."""

    name: str
    folder: Path
    title: str
    paper: str
    url: str | None
    kind: str
    modality: tuple[str, ...]
    equivalence: str
    stages: tuple[str, ...]
    variants: dict[str, Variant]
    default_variant: str
    settings: tuple[Setting, ...]
    """Defaults for all variants: settings of the sections of a run."""

    @property
    def path(self) -> Path:
        """The recipe.yaml."""
        return self.folder / RECIPE_FILE


def read_recipe_info(folder: Path) -> RecipeInfo:
    """Return what the recipe.yaml in `folder` says.

    Raises:
        InputError: the file is not YAML, or a key of it is unknown, missing or wrong.
    """
    path = folder / RECIPE_FILE
    settings = read_yaml_settings(path)
    raise_together(_unknown_top_level(settings))
    header = load_strict(RecipeHeader, under(settings, "recipe"), where=f"{path}: recipe")
    names = dict.fromkeys(s.keys[1] for s in settings if s.keys[0] == "variants" and s.keys[1:])
    variants = {name: _read_variant(path, name, settings) for name in names}
    default = _default_variant(path, settings, variants)
    raise_together(_check_header(path, header))
    return RecipeInfo(
        name=folder.name,
        folder=folder,
        **{
            **dataclasses.asdict(header),
            "modality": tuple(header.modality),
            "stages": tuple(header.stages),
        },
        variants=variants,
        default_variant=default,
        settings=tuple(s for s in settings if s.keys[0] in SECTIONS),
    )


def _read_variant(path: Path, name: str, settings: list[Setting]) -> Variant:
    own = under(settings, "variants", name)
    sections = tuple(s for s in own if s.keys[0] in SECTIONS)
    words = [s for s in own if s.keys[0] not in SECTIONS]
    header = load_strict(VariantHeader, words, where=f"{path}: variants.{name}")
    return Variant(name=name, settings=sections, **dataclasses.asdict(header))


def _default_variant(path: Path, settings: list[Setting], variants: dict[str, Variant]) -> str:
    if not variants:
        raise InputError(
            f"{path}: variants",
            found="no variant",
            expected="at least one named size, and one named debug for a laptop CPU",
            do="Add `variants: {debug: {description: ..., model: {...}}}`.",
        )
    for setting in settings:
        if setting.keys == ("default_variant",):
            if setting.text in variants:
                return setting.text
            raise unknown_choice(
                f"default_variant ({setting.source})", "variant", str(setting.value), list(variants)
            )
    raise InputError(
        f"{path}: default_variant",
        found="no value",
        expected=f"one of {', '.join(variants)}",
        do="Name the variant that is taken when none is asked for.",
    )


def _unknown_top_level(settings: list[Setting]) -> list[InputError]:
    unknown: dict[str, Setting] = {}
    for setting in settings:
        if setting.keys[0] not in TOP_LEVEL:
            unknown.setdefault(setting.keys[0], setting)
    return [
        InputError(
            f"{key} ({setting.source})",
            found=f"unknown key '{key}'",
            expected=f"one of {', '.join(TOP_LEVEL)}",
            do=f"{did_you_mean(key, TOP_LEVEL)}Correct the key.",
        )
        for key, setting in unknown.items()
    ]


def _check_header(path: Path, header: RecipeHeader) -> list[InputError]:
    problems = []
    for key, word, choices in (
        ("kind", header.kind, KINDS),
        ("equivalence", header.equivalence, EQUIVALENCES),
    ):
        if word not in choices:
            problems.append(unknown_choice(f"{path}: recipe.{key}", key, word, choices))
    for key, words in (("modality", header.modality), ("stages", header.stages)):
        if not words or len(set(words)) < len(words):
            problems.append(
                InputError(
                    f"{path}: recipe.{key}",
                    found=f"{words}",
                    expected="at least one word, none of them twice",
                    do="Correct the list.",
                )
            )
    return problems


def unknown_choice(
    where: str, what: str, word: str, choices: list[str] | tuple[str, ...]
) -> InputError:
    """Return the problem that `word` is not one of the names that exist."""
    return InputError(
        where,
        found=f"unknown {what} '{word}'",
        expected=f"one of {', '.join(choices)}",
        do=f"{did_you_mean(word, choices)}Correct the name.",
    )
