"""What `physioscale ls` prints of the converters: profiles and corpus definitions."""

from pathlib import Path

from physioscale.cli.command import CatalogueEntry
from physioscale.errors import InputError
from physioscale_sharding.corpus import list_definitions, load_definition
from physioscale_sharding.corpus.definition import CORPORA_FOLDER
from physioscale_sharding.profile import list_profiles, load_profile


def profiles() -> list[CatalogueEntry]:
    """Return every profile, a broken one with what is wrong with it."""
    return [_profile(name, path) for name, path in list_profiles().items()]


def corpora() -> list[CatalogueEntry]:
    """Return every corpus definition, a broken one with what is wrong with it."""
    return [_corpus(name, CORPORA_FOLDER / f"{name}.yaml") for name in list_definitions()]


def _profile(name: str, path: Path) -> CatalogueEntry:
    try:
        profile = load_profile(name).profile
    except InputError as error:
        return CatalogueEntry(name=name, title="", path=path, problem=str(error))
    return CatalogueEntry(name=name, title=profile.title, path=path)


def _corpus(name: str, path: Path) -> CatalogueEntry:
    try:
        definition = load_definition(name)
    except InputError as error:
        return CatalogueEntry(name=name, title="", path=path, problem=str(error))
    details = {"modality": definition.modality, "layout": definition.layout}
    return CatalogueEntry(name=name, title=definition.title, path=path, details=details)
