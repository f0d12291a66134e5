"""`physioscale show`: the resolved configuration of a recipe, and the size of each variant.

The text is YAML with the counts as comments, so that it can be kept and compared; `--json` prints
the same facts as one object.
"""

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any

from physioscale.cli.command import Command
from physioscale.cli.output import aligned, print_json
from physioscale.config.identity import config_hash, to_yaml
from physioscale.config.run import RunConfig
from physioscale.recipes.loader import Recipe, load_recipe


@dataclass(frozen=True)
class VariantSize:
    """Parameters of a variant: built here, printed in the paper, counted from its description."""

    name: str
    description: str
    encoder_parameters: int
    total_parameters: int
    paper_parameters: str | None
    counted_encoder_parameters: int | None
    shown: bool
    """Whether this is the variant whose configuration is shown, overrides included."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="name of a recipe; `physioscale ls` prints all")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings; variant=NAME picks a size"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    recipe = load_recipe(arguments.recipe)
    config = recipe.resolve(overrides=arguments.overrides)
    sizes = variant_sizes(recipe, config)
    if arguments.json:
        print_json(_as_json(recipe, config, sizes))
    else:
        _print_text(recipe, config, sizes)
    return 0


def variant_sizes(recipe: Recipe, config: RunConfig) -> list[VariantSize]:
    """Return the size of every variant; that of `config` as it is configured."""
    from physioscale.recipes.counts import count_parameters

    sizes = []
    for variant in recipe.info.variants.values():
        shown = variant.name == config.variant
        counts = count_parameters(recipe, config if shown else recipe.resolve(variant=variant.name))
        sizes.append(
            VariantSize(
                name=variant.name,
                description=variant.description,
                encoder_parameters=counts.encoder,
                total_parameters=counts.total,
                paper_parameters=variant.paper_parameters,
                counted_encoder_parameters=variant.encoder_parameters,
                shown=shown,
            )
        )
    return sizes


def _as_json(recipe: Recipe, config: RunConfig, sizes: list[VariantSize]) -> dict[str, Any]:
    info = recipe.info
    return {
        "name": info.name,
        "title": info.title,
        "paper": info.paper,
        "url": info.url,
        "kind": info.kind,
        "modality": list(info.modality),
        "equivalence": info.equivalence,
        "stages": list(info.stages),
        "path": str(info.folder),
        "default_variant": info.default_variant,
        "variants": [dataclasses.asdict(size) for size in sizes],
        "config_hash": config_hash(config),
        "config": dataclasses.asdict(config),
    }


def _print_text(recipe: Recipe, config: RunConfig, sizes: list[VariantSize]) -> None:
    info = recipe.info
    print(f"# {info.name}: {info.title} ({info.kind}; {', '.join(info.modality)})")
    print(f"# {info.paper}" + (f" {info.url}" if info.url else ""))
    print("#")
    header = ["variant", "encoder", "counted from the paper", "the paper's figure", "total", ""]
    rows = [header]
    for size in sizes:
        counted = size.counted_encoder_parameters
        rows.append(
            [
                size.name,
                f"{size.encoder_parameters:,}",
                "-" if counted is None else f"{counted:,}",
                size.paper_parameters or "-",
                f"{size.total_parameters:,}",
                "<- shown below" if size.shown else "",
            ]
        )
    for line in aligned(rows):
        print(f"# {line}")
    print()
    print(to_yaml(config), end="")


COMMAND = Command(
    name="show",
    help="Print a recipe's resolved configuration and the parameter counts of its variants",
    example="physioscale show reve\nphysioscale show reve variant=debug data.window_s=4 --json",
    add_arguments=add_arguments,
    run=run,
)
