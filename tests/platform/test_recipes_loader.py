"""Recipes by name: listing, importing, resolving, and what is said of a broken one."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from physioscale import recipes
from physioscale.config import config_hash, to_yaml
from physioscale.errors import InputError, MissingInputError
from physioscale.recipes.counts import build_on_meta, count_parameters
from physioscale.recipes.header import EQUIVALENCES, KINDS
from physioscale.recipes.loader import (
    Recipe,
    UnknownRecipeError,
    check_name,
    find_recipes,
    list_recipes,
    load_recipe,
    read_run_config,
)
from physioscale.testing.recipes import RECIPE_YAML, TRAINING_PY, write_recipe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(recipes.ENVIRONMENT_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def make(root: Path) -> Callable[..., Recipe]:
    def _make(*, yaml: str = RECIPE_YAML, training: str = TRAINING_PY) -> Recipe:
        return load_recipe(write_recipe(root, yaml=yaml, training=training).name)

    return _make


def test_recipe_is_found_by_listing(root: Path) -> None:
    (root / "no_recipe").mkdir()
    folder = write_recipe(root)
    info = next(info for info in list_recipes() if info.folder == folder)
    assert info.name == folder.name
    assert (info.title, info.kind, info.modality) == ("One linear layer", "encoder", ("eeg",))
    assert (list(info.variants), info.default_variant) == (["debug", "wide"], "debug")
    assert (info.stages, info.equivalence, info.url) == (("pretrain",), "global_batch", None)
    assert info.variants["debug"].paper_parameters == "9 thousand"
    assert info.variants["debug"].encoder_parameters == 8
    assert info.variants["wide"].encoder_parameters is None


def test_listing_imports_no_code(root: Path) -> None:
    write_recipe(root, training="raise RuntimeError('imported')\n")
    code = (
        "import sys\nfrom physioscale.recipes.loader import list_recipes\nlist_recipes()\n"
        "print([n for n in ('torch', 'lightning', 'mne', 'pyarrow') if n in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, recipes.ENVIRONMENT_VARIABLE: str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_first_folder_of_a_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    name = write_recipe(first).name
    write_recipe(second, name=name)
    monkeypatch.setenv(recipes.ENVIRONMENT_VARIABLE, f"{first}{os.pathsep}{second}")
    assert load_recipe(name).info.folder == first / name


def test_unknown_recipe_names_the_near_one(root: Path) -> None:
    write_recipe(root, name="my_encoder")
    with pytest.raises(
        UnknownRecipeError,
        match=r"^unknown recipe 'my_encodr'; did you mean 'my_encoder'\? `physioscale ls` prints",
    ) as caught:
        load_recipe("my_encodr")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_unknown_recipe_without_a_near_one(root: Path) -> None:
    with pytest.raises(UnknownRecipeError, match=r"^unknown recipe 'qqq'; `physioscale ls`"):
        load_recipe("qqq")


def test_variant_sections_win_over_recipe_sections(make: Callable[..., Recipe]) -> None:
    yaml = RECIPE_YAML + "trainer: {max_steps: 7}\nmodel: {depth: 3}\n"
    yaml = yaml.replace("model: {dim: 10}", "model: {dim: 10, depth: 5}\n    seed: 3")
    recipe = make(yaml=yaml.replace("\n    seed: 3", "\n    trainer: {max_steps: 9}"))
    default, wide = recipe.resolve(), recipe.resolve(variant="wide")
    assert (default.variant, default.model.dim, default.model.depth) == ("debug", 2, 3)
    assert (wide.variant, wide.model.dim, wide.model.depth) == ("wide", 10, 5)
    assert (default.trainer.max_steps, wide.trainer.max_steps) == (7, 9)
    assert recipe.resolve(overrides=["variant=wide", "model.depth=6"]).model.depth == 6
    assert wide.data.batch_samples == 16


def test_configuration_is_typed(make: Callable[..., Recipe]) -> None:
    recipe = make()
    config = recipe.resolve(overrides=["model.head.width=3", "objective.mask_share=0.25"])
    assert (config.model.head.width, config.objective.mask_share) == (3, 0.25)
    assert type(config.model) is recipe.parts.model_config
    assert type(config.objective) is recipe.parts.objective_config
    assert (config.recipe, config.stage) == (recipe.info.name, "pretrain")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["variant=dbug"], r"unknown variant 'dbug'; expected one of debug, wide. .*'debug'"),
        (["stage=pretrian"], r"unknown stage 'pretrian'; .*Did you mean 'pretrain'"),
        (["recipe=other"], r"recipe \(command line\): 'other'; expected no such word"),
        (["model.dmi=3"], r"model.dmi \(command line\): unknown key 'dmi' in section 'model'"),
        (["dim=3"], r"unknown key 'dim'.*Did you mean 'model.dim'"),
        (["model=3"], r"model \(command line\): 3; expected a mapping"),
        (["model=null"], r"model \(command line\): null; expected a mapping"),
        (["trainer.devices=3"], r"16 windows for 3 devices x 1 nodes = 3 ranks"),
    ],
)
def test_bad_words_are_refused(make: Callable[..., Recipe], words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make().resolve(overrides=words)


def test_problem_in_the_yaml_names_file_and_line(make: Callable[..., Recipe]) -> None:
    recipe = make(yaml=RECIPE_YAML + "trainer:\n  max_stps: 3\n")
    line = (RECIPE_YAML + "trainer:\n  max_stps: 3\n").count("\n")
    with pytest.raises(InputError, match=rf"\(.*recipe.yaml line {line}\): unknown key 'max_stps'"):
        recipe.resolve()


def test_restored_run_is_equal_to_what_was_written(
    make: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = make()
    words = [
        "variant=wide",
        "model.names=['1e-4', '010', 'null', 'a b', 'x: y']",
        "model.rates=[1e-9, 1e22, 0.1]",
        "model.extra.a=3",
        "model.head.width=2",
        "run.name=2024_01",
        "data.shards=/some where/ü",
        "load.clip=15",
    ]
    config = recipe.resolve(overrides=words)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    again, restored = read_run_config(path)
    assert restored == config
    assert again.info.name == recipe.info.name
    assert config_hash(restored) == config_hash(config)


def test_restoring_takes_nothing_from_the_present_recipe(
    make: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = make()
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(recipe.resolve(variant="wide")), encoding="utf-8")
    changed = RECIPE_YAML.replace("dim: 10", "dim: 11") + "trainer: {max_steps: 3}\n"
    (recipe.info.folder / "recipe.yaml").write_text(changed, encoding="utf-8")
    _, restored = read_run_config(path)
    assert (restored.model.dim, restored.trainer.max_steps) == (10, 1000)


@pytest.mark.parametrize("key", ["recipe", "variant", "stage"])
def test_file_that_is_no_run_is_refused(
    make: Callable[..., Recipe], tmp_path: Path, key: str
) -> None:
    path = tmp_path / "config.yaml"
    lines = to_yaml(make().resolve()).splitlines(keepends=True)
    path.write_text("".join(x for x in lines if not x.startswith(f"{key}:")), encoding="utf-8")
    with pytest.raises(InputError, match=rf"config.yaml: no key '{key}'; expected the resolved"):
        read_run_config(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("recipe:\n", "recipee:\n", r"recipee \(.*line 2\): unknown key .*Did you mean 'recipe'"),
        ("title:", "titel:", r"titel \(.*line 2\): unknown key 'titel'.*Did you mean 'title'"),
        ("  paper: none\n", "", r"recipe.yaml: recipe: paper: no value; expected text"),
        ("kind: encoder", "kind: encodr", r"unknown kind 'encodr'; .*Did you mean 'encoder'"),
        ("modality: [eeg]", "modality: []", r"recipe.modality: \[\]; expected at least one word"),
        ("modality: [eeg]", "modality: eeg\n  stages: [a, a]", r"recipe.stages: \['a', 'a'\]"),
        ("modality: [eeg]", "modality: eeg\n  equivalence: none", r"unknown equivalence 'none'"),
        ("default_variant: debug\n", "", r"default_variant: no value; .* debug, wide"),
        ("default_variant: debug", "default_variant: big", r"unknown variant 'big'"),
        ("description: two inputs", "size: 2", r"size \(.*line 9\): unknown key 'size'"),
        ("    description: two inputs\n", "", r"variants.debug: description: no value"),
        ("variants:\n", "variants: {}\nvarints:\n", r"varints .*Did you mean 'variants'"),
        ("encoder_parameters: 8", "encoder_parameters: 8 M", r"'8 M'; expected a whole number"),
        ("data:\n", "data: [\n", r"recipe.yaml line \d+: .*; expected plain YAML"),
    ],
)
def test_broken_recipe_yaml_is_named(root: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE_YAML
    folder = write_recipe(root, yaml=RECIPE_YAML.replace(old, new))
    with pytest.raises(InputError, match=message):
        load_recipe(folder.name)
    with pytest.raises(InputError, match=message):
        list_recipes()


def test_recipe_without_variants_is_refused(root: Path) -> None:
    yaml = RECIPE_YAML[: RECIPE_YAML.index("variants:")]
    with pytest.raises(InputError, match=r"recipe.yaml: variants: no variant; expected at least"):
        load_recipe(write_recipe(root, yaml=yaml).name)


def test_broken_recipe_does_not_hide_the_others(root: Path) -> None:
    good, bad = write_recipe(root), write_recipe(root, yaml="recipe: {}\n")
    write_recipe(root, name="my-recipe")
    infos, broken = find_recipes()
    assert good.name in [info.name for info in infos]
    assert {recipe.name for recipe in broken} == {bad.name, "my-recipe"}
    assert load_recipe(good.name).info.name == good.name


def test_missing_folder_of_recipes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(recipes.ENVIRONMENT_VARIABLE, "/nowhere/at/all")
    with pytest.raises(MissingInputError, match=r"PHYSIOSCALE_RECIPES: no folder '/nowhere/at"):
        list_recipes()


@pytest.mark.parametrize("name", ["Reve", "my-recipe", "1st", "a__b", "_a", "a_", "class", "", "é"])
def test_name_that_is_not_snake_case_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"recipe name: '.*'; expected snake_case"):
        check_name(name)


def test_name_of_a_module_of_ours_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe name: 'loader'"):
        check_name("loader")
    check_name("eeg_2")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ("RECIPE = 3\n", r"training.py: RECIPE is int; expected RECIPE = RecipeParts"),
        ("x = 3\n", r"training.py: RECIPE is NoneType; expected RECIPE = RecipeParts"),
        (
            TRAINING_PY.replace("dim: int", "dim: complex"),
            r"training.py: .*; expected model_config and objective_config with fields",
        ),
    ],
)
def test_bad_training_module_is_named(
    make: Callable[..., Recipe], training: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make(training=training).resolve()


def test_recipe_without_training_module_is_named(root: Path) -> None:
    folder = write_recipe(root)
    (folder / "training.py").unlink()
    with pytest.raises(InputError, match=r"no training.py; expected recipe.yaml, model.py and"):
        load_recipe(folder.name).resolve()


def test_two_recipes_of_one_name_cannot_be_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_recipe(tmp_path / "first").name
    write_recipe(tmp_path / "second", name=name)
    monkeypatch.setenv(recipes.ENVIRONMENT_VARIABLE, str(tmp_path / "first"))
    load_recipe(name).resolve()
    monkeypatch.setenv(recipes.ENVIRONMENT_VARIABLE, str(tmp_path / "second"))
    with pytest.raises(InputError, match=r"its code is already imported from .*first"):
        load_recipe(name).resolve()


def test_classes_of_a_recipe_pickle(make: Callable[..., Recipe]) -> None:
    model = make().resolve().model
    assert pickle.loads(pickle.dumps(model)) == model


def test_network_is_counted_without_memory(make: Callable[..., Recipe]) -> None:
    recipe = make()
    config = recipe.resolve(overrides=["model.dim=1_000_000", "model.depth=1_000_000"])
    counts = count_parameters(recipe, config)  # 4 TB of float32, if it were real
    assert (counts.encoder, counts.total) == (10**12, 10**12 + 10**6)
    assert all(parameter.is_meta for parameter in build_on_meta(recipe, config).parameters())


def test_network_that_cannot_be_built_is_a_problem_of_the_configuration(
    make: Callable[..., Recipe],
) -> None:
    recipe = make()
    with pytest.raises(InputError, match=r"model: the network cannot be built: dim is 0; at"):
        build_on_meta(recipe, recipe.resolve(overrides=["model.dim=0"]))


def test_words_of_the_header_are_those_of_the_design() -> None:
    assert len(KINDS) == 7
    assert EQUIVALENCES == ("global_batch", "micro_batches", "gathered")
