"""The image: what its build sees, who it runs as, and what is not in it."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.docker.conftest import Build, Docker

# The first of these tests builds the image, on a new machine from nothing.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


def in_container(docker: "Docker", image: str, *words: str) -> str:
    return docker("docker", "run", "--rm", "--network", "host", image, *words)


def test_build_sees_the_sources_and_nothing_else(docker: "Docker", checkout: Path) -> None:
    other = Path(docker.environment["HOME"]) / "with-more"
    wheels = shutil.ignore_patterns("*.whl")
    shutil.copytree(checkout, other, ignore=wheels)
    for name in (".env", "docker/.env", "recipes/.env", ".git/config", ".venv/bin/x", "runs/x/y"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text("not to be seen", encoding="utf-8")
    (other / "platform/physioscale/__pycache__").mkdir()
    (other / "platform/physioscale/__pycache__/x.pyc").touch()
    (other / "all.Dockerfile").write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
    seen = Path(docker.environment["HOME"]) / "seen"
    docker("docker", "build", "-f", "all.Dockerfile", "--output", seen, ".", cwd=other)
    files = {path.relative_to(seen) for path in seen.rglob("*") if path.is_file()}
    names = ("platform", "sharding", "recipes", "slurm")
    expected = {
        path.relative_to(checkout)
        for name in names
        for path in (checkout / name).rglob("*")
        if path.is_file()
    }
    expected |= {Path(name) for name in ("pyproject.toml", "README.md", "LICENSE")}
    expected |= {Path("docker/constraints.txt"), Path("docker/wheels/README.md")}
    assert files == expected
    assert sum((seen / path).stat().st_size for path in files) < 10e6


def test_image_runs_as_the_host_user(docker: "Docker", image: str, checkout: Path) -> None:
    owner = checkout.stat()
    printed = in_container(docker, image, "sh", "-c", "id -u; id -g; echo $HOME; touch $HOME/x")
    assert printed.split() == [str(owner.st_uid), str(owner.st_gid), "/home/physioscale"]


def test_image_has_the_constrained_versions(docker: "Docker", image: str, checkout: Path) -> None:
    listed = in_container(docker, image, "pip", "list", "--format", "json")
    lines = (checkout / "docker/constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for row in json.loads(listed):
        name = row["name"].lower().replace("_", "-").replace(".", "-")
        if name not in ("physioscale", "pip") and not name.startswith(("nvidia", "cuda", "triton")):
            assert row["version"].split("+")[0] == pins[name], name


def test_image_is_fit(docker: "Docker", image: str) -> None:
    # --ipc host as in docker-compose.yaml: the default of 64 MB of shared memory is a warning.
    words = ("docker", "run", "--rm", "--network", "host", "--ipc", "host", image)
    report = json.loads(docker(*words, "physioscale", "doctor", "--json"))
    assert report["verdict"] in ("ok", "warn")
    assert {row["name"]: row["verdict"] for row in report["checks"]}["shared memory"] == "ok"


def test_image_holds_no_secret(docker: "Docker", image: str, secret: str) -> None:
    assert secret not in docker("docker", "history", "--no-trunc", image)
    assert secret not in docker("docker", "inspect", image)
    # A planted file shows that the search would find one.
    search = (
        f"echo {secret} > $HOME/planted; ls /run/secrets; "
        f"find / -xdev -type f -size -4096k -exec grep -lF {secret} {{}} +"
    )
    found = in_container(docker, image, "sh", "-c", f"({search}) 2>/dev/null; true")
    assert found == "/home/physioscale/planted\n"


def test_root_is_refused(build: "Build", image: str, checkout: Path) -> None:
    printed = build("--build-arg", "HOST_UID=0", cwd=checkout, fails=True)
    assert "HOST_UID is 0; the image runs as an ordinary user" in printed


def test_a_change_of_the_sources_installs_no_dependency(
    docker: "Docker", build: "Build", image: str, checkout: Path
) -> None:
    changed = Path(docker.environment["HOME"]) / "changed"
    shutil.copytree(checkout, changed)
    # Unlike any layer that an earlier run has left.
    mark = f"changed = {os.getpid()}.{os.urandom(8).hex()}"
    for name in ("platform/physioscale/py.typed", "pyproject.toml"):
        with (changed / name).open("a", encoding="utf-8") as file:
            file.write(f"\n# {mark}\n")
    log = build(cwd=changed)
    names = dict(re.findall(r"^#(\d+) \[([^\]]+)\]", log, re.MULTILINE))
    cached = {names[number] for number in re.findall(r"^#(\d+) CACHED$", log, re.MULTILINE)}
    assert "dependencies 1/1" in cached, log
    assert "wheel 1/7" in cached, log
    assert "wheel 7/7" not in cached, log
