"""Recipes by name: list them, import one, and resolve a run of it.

A recipe is a folder with a recipe.yaml in one of the places of `recipe_roots()`; there is no
registry. Listing reads YAML only; the recipe's code is imported when its parts are asked for.
"""

import importlib
import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from physioscale import recipes
from physioscale.config.check import check_run
from physioscale.config.problems import raise_together
from physioscale.config.run import RunConfig
from physioscale.config.settings import COMMAND_LINE, Setting, parse_overrides, read_yaml_settings
from physioscale.config.strict import build, merge, structured, unresolved
from physioscale.errors import InputError, MissingInputError, suggest
from physioscale.recipes.header import RECIPE_FILE, RecipeInfo, read_recipe_info, unknown_choice
from physioscale.recipes.parts import RecipeParts

NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SELECTING_KEYS = ("variant", "stage")


@dataclass(frozen=True)
class BrokenRecipe:
    """A place that should hold a recipe and does not."""

    name: str
    path: Path
    problem: InputError


class UnknownRecipeError(InputError):
    """A recipe name that no folder has."""

    def __str__(self) -> str:
        return f"{self.found} {self.do}"


@dataclass(frozen=True)
class Recipe:
    """One recipe: what its YAML says, and, when asked for, its code."""

    info: RecipeInfo

    @cached_property
    def parts(self) -> RecipeParts:
        """The builders, from the recipe's `training.py` (imports torch and lightning).

        Raises:
            InputError: the folder has no such file, or the file has no `RECIPE`.
        """
        return _import_parts(self.info)

    def resolve(
        self,
        *,
        variant: str | None = None,
        stage: str | None = None,
        overrides: Iterable[str] = (),
    ) -> RunConfig:
        """Return the checked configuration of a run.

        Later wins: defaults of the dataclasses, the recipe's sections, the variant's sections,
        `overrides`.

        Args:
            variant: Named size; None takes the recipe's default.
            stage: Stage of training; None takes the first.
            overrides: `key=value` words; `variant=...` and `stage=...` may be among them, and
                win over the arguments.

        Raises:
            InputError: an unknown variant, stage or key, or a wrong value; all of them together.
        """
        settings = parse_overrides(overrides)
        variant = self._select("variant", variant, settings, self.info.default_variant)
        stage = self._select("stage", stage, settings, self.info.stages[0])
        own = [s for s in settings if s.keys not in {(key,) for key in SELECTING_KEYS}]
        return self._merge(
            variant, stage, [*self.info.settings, *self.info.variants[variant].settings, *own]
        )

    def restore(self, path: Path) -> RunConfig:
        """Return the configuration that `to_yaml` wrote into a run folder.

        Nothing of the recipe's present YAML enters: a run stays what it was.

        Raises:
            InputError: the file is not a configuration of this recipe.
        """
        settings = read_yaml_settings(path)
        chosen = {s.keys[0]: str(s.text) for s in settings if len(s.keys) == 1}
        for key in ("recipe", *SELECTING_KEYS):
            if key not in chosen:
                raise _not_a_run(path, found=f"no key '{key}'")
        if chosen["recipe"] != self.info.name:
            raise _not_a_run(path, found=f"recipe '{chosen['recipe']}', not '{self.info.name}'")
        own = [s for s in settings if s.keys[0] not in ("recipe", *SELECTING_KEYS)]
        return self._merge(chosen["variant"], chosen["stage"], own)

    def _select(
        self, key: str, argument: str | None, settings: Sequence[Setting], default: str
    ) -> str:
        words = [s.text or "" for s in settings if s.keys == (key,)]
        word = words[-1] if words else default if argument is None else argument
        choices = list(self.info.variants) if key == "variant" else list(self.info.stages)
        if word not in choices:
            raise unknown_choice(f"recipe '{self.info.name}'", key, word, choices)
        return word

    def _merge(self, variant: str, stage: str, settings: Sequence[Setting]) -> RunConfig:
        where = f"recipe '{self.info.name}', variant '{variant}'"
        try:
            root = structured(
                RunConfig(
                    recipe=self.info.name,
                    variant=variant,
                    stage=stage,
                    model=structured(self.parts.model_config),
                    objective=structured(self.parts.objective_config),
                )
            )
        except OmegaConfBaseException as error:
            raise InputError(
                f"{self.info.folder / 'training.py'}",
                found=str(error).splitlines()[0],
                expected="model_config and objective_config with fields OmegaConf can type",
                do="Use int, float, bool, str, lists, and dataclasses of them.",
            ) from None
        problems = merge(root, [s for s in settings if s.keys != ("recipe",)])
        problems += [_fixed(s) for s in settings if s.keys == ("recipe",)]
        raise_together([*problems, *unresolved(root, settings, where=where)])
        config: RunConfig = build(root)
        check_run(config)
        return config


def list_recipes() -> list[RecipeInfo]:
    """Return what every recipe says of itself, by name, without importing any of its code.

    Raises:
        InputError: one or more recipe.yaml are broken; each is named.
    """
    infos, broken = find_recipes()
    raise_together(recipe.problem for recipe in broken)
    return infos


def find_recipes() -> tuple[list[RecipeInfo], list[BrokenRecipe]]:
    """Return the readable recipes, by name, and what is wrong with the others."""
    infos: list[RecipeInfo] = []
    broken = [BrokenRecipe(root.name, root, _no_root(root)) for root in recipes.missing_roots()]
    for name, folder in sorted(_folders().items()):
        try:
            check_name(name)
            infos.append(read_recipe_info(folder))
        except InputError as error:
            broken.append(BrokenRecipe(name, folder, error))
    return infos, broken


def load_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        UnknownRecipeError: no folder of that name holds a recipe.yaml.
        InputError: its recipe.yaml is broken.
    """
    folders = _folders()
    if name not in folders:
        raise UnknownRecipeError(
            "recipe",
            found=f"unknown recipe '{name}'{suggest(name, folders) or ';'}",
            expected=f"one of {', '.join(sorted(folders))}",
            do="`physioscale ls` prints all.",
        )
    check_name(name)
    return Recipe(read_recipe_info(folders[name]))


def read_run_config(path: Path) -> tuple[Recipe, RunConfig]:
    """Return the recipe and the configuration of a run from the YAML in its folder.

    Raises:
        InputError: the file is not a configuration, or its recipe is not installed here.
    """
    names = [str(s.text) for s in read_yaml_settings(path) if s.keys == ("recipe",)]
    if not names:
        raise _not_a_run(path, found="no key 'recipe'")
    recipe = load_recipe(names[0])
    return recipe, recipe.restore(path)


def check_name(name: str) -> None:
    """Check that `name` can name a recipe folder.

    Raises:
        InputError: it is not snake_case, or Python or this package already uses the word.
    """
    files = Path(str(recipes.__file__)).parent.iterdir()
    taken = {file.stem for file in files if not file.name.startswith("_")}
    if NAME_PATTERN.fullmatch(name) and not keyword.iskeyword(name) and name not in taken:
        return
    raise InputError(
        "recipe name",
        found=f"'{name}'",
        expected="snake_case (a letter, then letters, digits and single underscores)"
        f" that is no Python word and not one of {', '.join(sorted(taken))}",
        do="Choose another name, for example 'my_encoder'.",
    )


def _folders() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in recipes.recipe_roots():
        for file in sorted(root.glob(f"*/{RECIPE_FILE}")):
            found.setdefault(file.parent.name, file.parent)
    return found


def _import_parts(info: RecipeInfo) -> RecipeParts:
    path = info.folder / "training.py"
    if not path.is_file():
        raise InputError(
            str(info.folder),
            found="no training.py",
            expected="recipe.yaml, model.py and training.py",
            do="`physioscale new NAME` writes a recipe to start from.",
        )
    recipes.refresh_search_path()
    module: Any = importlib.import_module(f"physioscale.recipes.{info.name}.training")
    if Path(module.__file__).resolve() != path.resolve():
        raise InputError(
            f"recipe '{info.name}'",
            found=f"its code is already imported from {module.__file__}",
            expected=f"{path}",
            do="Two recipes of one name cannot be used in one process: start another.",
        )
    parts = getattr(module, "RECIPE", None)
    if not isinstance(parts, RecipeParts):
        raise InputError(
            str(path),
            found=f"RECIPE is {type(parts).__name__}",
            expected="RECIPE = RecipeParts(...)",
            do="See physioscale.recipes.parts.",
        )
    return parts


def _no_root(root: Path) -> InputError:
    return MissingInputError(
        recipes.ENVIRONMENT_VARIABLE,
        found=f"no folder '{root}'",
        expected="folders of recipe folders",
        do="Correct the variable, or unset it.",
    )


def _not_a_run(path: Path, *, found: str) -> InputError:
    return InputError(
        str(path),
        found=found,
        expected="the resolved configuration that a run of this recipe wrote",
        do="Name the configuration in a run folder.",
    )


def _fixed(setting: Setting) -> InputError:
    return InputError(
        f"{setting.key} ({setting.source})",
        found=f"'{setting.text}'",
        expected="no such word: the recipe is named first",
        do="Write `physioscale train RECIPE key=value ...`."
        if setting.source == COMMAND_LINE
        else "Remove the key.",
    )
