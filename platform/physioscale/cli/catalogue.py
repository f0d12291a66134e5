"""The catalogue of recipes that `physioscale ls` prints."""

from physioscale.cli.command import CatalogueEntry
from physioscale.recipes.loader import find_recipes


def recipes() -> list[CatalogueEntry]:
    """Return every recipe, the broken ones with what is wrong with them."""
    infos, broken = find_recipes()
    entries = [
        CatalogueEntry(
            name=info.name,
            title=info.title,
            path=info.folder,
            details={
                "kind": info.kind,
                "modality": list(info.modality),
                "variants": list(info.variants),
            },
        )
        for info in infos
    ]
    return entries + [
        CatalogueEntry(name=recipe.name, title="", path=recipe.path, problem=str(recipe.problem))
        for recipe in broken
    ]
