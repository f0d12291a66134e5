"""The files in docker/ agree with each other and with pyproject.toml; nothing is started."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def pins() -> dict[str, Version]:
    lines = (FOLDER / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_every_dependency_is_pinned_within_its_range() -> None:
    pinned = pins()
    needed = [*project()["project"]["dependencies"], *project()["build-system"]["requires"]]
    for line in needed:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_pins_name_no_build() -> None:
    # "+cpu" behind torch would refuse the CUDA build, and the other way round.
    assert [name for name, version in pins().items() if version.local] == []


def test_compose_and_dockerfile_name_the_same_base() -> None:
    named = re.search(r"^ARG BASE=(\S+)$", (FOLDER / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert named
    assert f"${{PHYSIOSCALE_BASE:-{named[1]}}}" in (FOLDER / "docker-compose.yaml").read_text(
        "utf-8"
    )


def test_example_explains_every_setting_of_compose() -> None:
    compose = (FOLDER / "docker-compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", compose)) | {"WANDB_API_KEY", "WANDB_BASE_URL"}
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert set(shown) == used | {"COMPOSE_PROJECT_NAME", "DOCKER_BUILDKIT"}
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", compose):
        if name not in ("PHYSIOSCALE_BASE", "PHYSIOSCALE_PIP_ARGS", "PHYSIOSCALE_BUILD_NETWORK"):
            assert shown[name] == default, name


def test_there_is_a_service_for_each_profile() -> None:
    services = yaml.safe_load((FOLDER / "docker-compose.yaml").read_text("utf-8"))["services"]
    assert {name: service["profiles"] for name, service in services.items()} == {
        name: [name] for name in ("shard", "train", "train-cpu", "evaluate", "dashboard")
    }
