"""`physioscale validate`: check a recipe, and the shards it is to read, without running it.

Every variant is resolved, checked and built on the meta device, unless `variant=...` picks one.
Each folder in `data.shards` is opened and compared with what the recipe accepts; the windows that
training would read are enumerated, and with `variant=...` its batches planned.
"""

import argparse
from collections.abc import Sequence

from physioscale.cli.command import Command
from physioscale.cli.output import aligned
from physioscale.config.problems import raise_together
from physioscale.config.run import RunConfig
from physioscale.config.settings import parse_overrides
from physioscale.errors import InputError
from physioscale.recipes.loader import Recipe, load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="name of a recipe; `physioscale ls` prints all")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings, among them data.shards=DIR"
    )


def run(arguments: argparse.Namespace) -> int:
    recipe = load_recipe(arguments.recipe)
    picked = any(setting.keys == ("variant",) for setting in parse_overrides(arguments.overrides))
    names = [None] if picked else list(recipe.info.variants)
    configs = [recipe.resolve(variant=name, overrides=arguments.overrides) for name in names]
    lines = [_check_build(recipe, config) for config in configs]
    shards = _check_shards(configs)
    if shards:
        shards += _check_windows(recipe, configs[0], plan=picked)
    print(f"recipe {recipe.info.name} at {recipe.info.folder}")
    for line in aligned([["variant", "encoder", "total", "tokens per window"], *lines]):
        print(f"  {line}")
    for shard_line in shards:
        print(shard_line)
    if not shards:
        print("no data.shards given: what the recipe accepts was not compared with any")
    print("valid")
    return 0


def _check_build(recipe: Recipe, config: RunConfig) -> list[str]:
    from physioscale.recipes.counts import count_parameters

    counts = count_parameters(recipe, config)
    num_channels = config.accepts.min_channels
    tokens = recipe.parts.tokens_per_window(config, num_channels)
    if tokens < 1:
        raise InputError(
            f"recipe '{config.recipe}', variant '{config.variant}': data.window_s",
            found=f"{tokens} tokens in a window of {config.data.window_s:g} s",
            expected="at least one token",
            do="Choose a longer window or a shorter patch.",
        )
    window = f"{tokens} ({num_channels} channels, {config.data.window_s:g} s)"
    return [config.variant, f"{counts.encoder:,}", f"{counts.total:,}", window]


def _check_shards(configs: Sequence[RunConfig]) -> list[str]:
    """Compare every named shard set with what every configuration accepts."""
    paths = dict.fromkeys(path for config in configs for path in config.data.shards)
    if not paths:
        return []
    from physioscale.contract import open_shard_set
    from physioscale.streaming.acceptance import check_accepts

    lines, problems = [], []
    for path in paths:
        try:
            shard_set = open_shard_set(path)
            for config in configs:
                check_accepts(config.accepts, shard_set)
        except InputError as error:
            problems.append(error)
            continue
        info = shard_set.info
        hours = sum(split.hours for split in info.splits.values())
        count = sum(split.recordings for split in info.splits.values())
        lines.append(f"shards {path}: {info.corpus}, {count} recordings, {hours:.2f} h: accepted")
    raise_together(problems)
    return lines


def _check_windows(recipe: Recipe, config: RunConfig, *, plan: bool) -> list[str]:
    """Select recordings and enumerate windows as training would; plan the batches where asked."""
    from physioscale.streaming import open_stream

    stream = open_stream(
        config,
        split="train",
        tokens_per_window=lambda channels: recipe.parts.tokens_per_window(config, channels),
    )
    return [*stream.describe(), *(stream.describe_plan() if plan else [])]


COMMAND = Command(
    name="validate",
    help="Check a recipe, and the shards it is to read, without running it",
    example="physioscale validate reve\nphysioscale validate reve data.shards=demo/shards",
    add_arguments=add_arguments,
    run=run,
)
