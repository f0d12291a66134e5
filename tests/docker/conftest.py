"""A Docker daemon, a copy of this checkout and an image built from it, for the marker `docker`.

Off by default, because a first run downloads a base system and all dependencies: run with
`pytest -m docker`, or with PHYSIOSCALE_REQUIRE=docker as CI does. A running daemon is used; without
one, root starts one with a data folder of its own in the user's cache. Images, all of them named
physioscale-tests..., and layers are kept there for the next run. Everything else runs as an
ordinary user, on the host's network.
"""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from physioscale.testing import write_folder_corpus

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
BASE = f"physioscale-tests-base:{SUITE}"
IMAGE = "physioscale-tests:local"
PROJECT = "physioscale-tests"
# Root stands in for the person at the workstation with these; another user is that person.
UID, GID = (1234, 2345) if os.geteuid() == 0 else (os.getuid(), os.getgid())
# Planted where secrets go. The same in every run: layers kept from an earlier one hold that one's.
SECRET = "a-password-that-must-not-be-found"
SOURCES = ("platform", "sharding", "recipes", "slurm", "docker")
FILES = ("pyproject.toml", "README.md", "LICENSE", ".dockerignore")


@dataclass(frozen=True)
class Docker:
    """A client that speaks BuildKit, a compose and a daemon, used as the host user."""

    environment: dict[str, str]
    compose: tuple[str, ...]
    groups: tuple[int, ...]

    def __call__(self, *words: str | Path, **how: Any) -> str:
        """Run a program as `run` does and return its standard output."""
        return str(self.run(*words, **how).stdout)

    def log(self, *words: str | Path, **how: Any) -> str:
        """Run a program as `run` does and return all that it printed."""
        done = self.run(*words, **how)
        return f"{done.stdout}\n{done.stderr}"

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        timeout_s: float = 120,
        fails: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the host user; with `fails`, it must fail."""
        is_root = os.geteuid() == 0
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd or self.environment["HOME"],
            env={**self.environment, **(settings or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            user=UID if is_root else None,
            group=GID if is_root else None,
            extra_groups=self.groups if is_root else None,
        )
        failed = done.returncode != 0
        assert failed == fails, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the marker out unless it is asked for."""
    asked = f"{config.option.markexpr} {os.environ.get('PHYSIOSCALE_REQUIRE', '')}"
    if "docker" in asked.split():
        return
    off = pytest.mark.skip(reason="docker is off by default: run `pytest -m docker`")
    for item in items:
        if item.get_closest_marker("docker"):
            item.add_marker(off)


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """Yield Docker with a base image, or skip and say what is missing."""
    home = Path(tempfile.mkdtemp(prefix="physioscale-docker-"))  # tmp_path is closed to other users
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home)
        client = find_client()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE")}
        environment = {
            **kept,
            "PATH": f"{client.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "DOCKER_BUILDKIT": "1",
        }
        if os.geteuid() != 0:
            environment.setdefault("DOCKER_CONFIG", str(Path.home() / ".docker"))
        compose = find_compose(client)
        if subprocess.run([client, "info"], capture_output=True, check=False).returncode != 0:
            environment["DOCKER_HOST"] = stack.enter_context(start_daemon(home))
        os.chown(home, UID, GID)
        one = Docker(environment, compose, socket_groups(environment))
        make_base(one, home)
        yield one


def find_client() -> Path:
    """Return the first client in PATH that can build with BuildKit."""
    for folder in os.environ["PATH"].split(os.pathsep):
        client = Path(folder) / "docker"
        if not os.access(client, os.X_OK):
            continue
        printed = subprocess.run([client, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"version (\d+)", printed.stdout)
        plugin = subprocess.run([client, "buildx", "version"], capture_output=True, check=False)
        # Until version 22 BuildKit was a part of the client.
        if plugin.returncode == 0 or (version and int(version[1]) < 23):
            return client
    pytest.skip("no docker client with BuildKit in PATH (on Debian: apt-get install docker.io)")


def find_compose(client: Path) -> tuple[str, ...]:
    """Return how compose is called: as the client's plugin, else as the older program."""
    plugin = subprocess.run([client, "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose") is None:
        pytest.skip("neither the compose plugin nor docker-compose is installed")
    return ("docker-compose",)


@contextlib.contextmanager
def start_daemon(home: Path) -> Iterator[str]:
    """Run a daemon that needs neither bridge nor packet filter; yield its address."""
    dockerd = shutil.which("dockerd")
    if os.geteuid() != 0 or dockerd is None:
        pytest.skip("no Docker daemon runs, and only root with dockerd installed can start one")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    data = cache / "physioscale-tests" / "docker"
    data.mkdir(parents=True, exist_ok=True)
    with (data.parent / "docker.lock").open("w") as lock, (home / "dockerd.log").open("w") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip(f"another run of these tests uses {data}")
        address = home / "docker.sock"
        words = [dockerd, "--iptables=false", "--bridge=none", "--host", f"unix://{address}"]
        words += ["--data-root", str(data), "--exec-root", str(home / "exec")]
        words += ["--pidfile", str(home / "dockerd.pid")]
        daemon = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for_daemon(daemon, address, Path(log.name))
            os.chown(address, 0, GID)
            yield f"unix://{address}"
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)
            # The network namespace of the host's network stays mounted.
            for mounted in (home / "exec" / "netns").glob("*"):
                subprocess.run(["umount", mounted], check=True)


def wait_for_daemon(daemon: subprocess.Popen[bytes], address: Path, log: Path) -> None:
    """Return when the daemon answers; skip when it cannot start here."""
    for _ in range(300):
        if daemon.poll() is not None:
            last = log.read_text(encoding="utf-8").splitlines()[-1:]
            pytest.skip(f"a Docker daemon cannot start here: {last}")
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(address))
            return
        time.sleep(0.1)
    pytest.skip("a Docker daemon did not answer within 30 s")


def socket_groups(environment: dict[str, str]) -> tuple[int, ...]:
    """Return the group that may use the daemon's socket."""
    address = environment.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    return (Path(address.removeprefix("unix://")).stat().st_gid,) if "unix://" in address else ()


def make_base(docker: Docker, home: Path) -> None:
    """Make a bare Debian: no image can be downloaded everywhere, but packages can."""
    if docker("docker", "images", "--quiet", BASE).strip():
        return
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip(f"no image {BASE}, and only root with debootstrap installed can make it")
    tree = home / "base"
    tree.mkdir()
    # In memory: dpkg syncs every file, which is most of its time on a disc.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs", tree], check=True)
    try:
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", SUITE, tree / SUITE],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        with subprocess.Popen(
            ["tar", "-C", tree / SUITE, "--create", "."], stdout=subprocess.PIPE
        ) as tar:
            subprocess.run(
                ["docker", "import", "-", BASE],
                stdin=tar.stdout,
                env=docker.environment,
                capture_output=True,
                check=True,
            )
    finally:
        subprocess.run(["umount", "--recursive", tree], check=True)


@pytest.fixture(scope="session")
def secret() -> str:
    """Return what is planted where secrets go: into pip.conf, and as the key of a tracker."""
    return SECRET


@pytest.fixture(scope="session")
def checkout(docker: Docker) -> Path:
    """Return a copy of the checkout that belongs to the host user, with recordings to convert."""
    copy = Path(docker.environment["HOME"]) / "checkout"
    copy.mkdir()
    for name in FILES:
        shutil.copy2(ROOT / name, copy)
    ours = shutil.ignore_patterns("__pycache__", ".env", "*.whl")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=ours)
    wheel = cpu_torch()
    if wheel is not None:
        shutil.copy2(wheel, copy / "docker/wheels")
    write_folder_corpus(copy / "data/mine", num_subjects=8, duration_s=60, layout="flat")
    for path in (copy, *copy.rglob("*")):
        os.chown(path, UID, GID)
    return copy


def cpu_torch() -> Path | None:
    """Return a CPU wheel of torch for the Python of the base, if this machine has one."""
    if sys.version_info[:2] != (3, 11):
        return None
    found = subprocess.run(
        ["sh", ROOT / ".ci/find-cpu-torch", sys.executable], capture_output=True, text=True
    )
    return Path(found.stdout.strip()) if found.stdout.strip() else None


@pytest.fixture(scope="session")
def settings(docker: Docker, checkout: Path) -> dict[str, str]:
    """Return what `.env` would say on this machine; the environment wins over `.env`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wheel = next((checkout / "docker/wheels").glob("*.whl"), None)
    return {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "PHYSIOSCALE_IMAGE": IMAGE,
        "PHYSIOSCALE_BASE": BASE,
        "PHYSIOSCALE_PIP_ARGS": "--extra-index-url https://download.pytorch.org/whl/cpu"
        if wheel is None
        else "",
        "PHYSIOSCALE_BUILD_NETWORK": "host",
        "PHYSIOSCALE_DASHBOARD_PORT": str(port),
        "PHYSIOSCALE_HEALTH_INTERVAL": "1s",
        "PHYSIOSCALE_TRAIN": training("mine"),
        "WANDB_API_KEY": SECRET,
    }


def training(name: str) -> str:
    """Return the words behind `physioscale train` of a short run."""
    return (
        f"reve variant=debug data.shards=shards/mine run.name={name} data.batch_samples=16 "
        "trainer.max_steps=30 trainer.checkpoint_every_steps=5 trainer.log_every_steps=1"
    )


def pip_configuration() -> tuple[str, str | None]:
    """Return a pip.conf with this machine's indexes, and its certificates if it names any."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed.stdout, re.MULTILINE))
    lines = ["[global]", f"# {SECRET}"]
    for key in ("index-url", "extra-index-url"):
        # Folders of this machine do not exist in a container.
        remote = [url for url in found.get(key, "").split() if url.startswith("http")]
        lines += [f"{key} = {' '.join(remote)}"] if remote else []
    lines += [f"trusted-host = {found['trusted-host']}"] if "trusted-host" in found else []
    return "\n".join(lines) + "\n", found.get("cert")


@dataclass(frozen=True)
class Build:
    """How the image is built here; called again, it comes from the cache."""

    docker: Docker
    words: tuple[str, ...]

    def __call__(self, *words: str, cwd: Path, fails: bool = False) -> str:
        return self.docker.log(*self.words, *words, ".", cwd=cwd, timeout_s=900, fails=fails)


@pytest.fixture(scope="session")
def build(docker: Docker, settings: dict[str, str]) -> Build:
    """Return the build with secrets, as the page describes it."""
    pip_conf = Path(docker.environment["HOME"]) / "pip.conf"
    text, certificates = pip_configuration()
    pip_conf.write_text(text, encoding="utf-8")
    words = ["docker", "build", "--file", "docker/Dockerfile", "--network", "host"]
    words += ["--progress", "plain", "--secret", f"id=pip_conf,src={pip_conf}"]
    if certificates is not None:
        words += ["--secret", f"id=ca_bundle,src={certificates}"]
    for name in ("BASE", "PIP_ARGS"):
        words += ["--build-arg", f"{name}={settings[f'PHYSIOSCALE_{name}']}"]
    return Build(
        docker, (*words, "--build-arg", f"HOST_UID={UID}", "--build-arg", f"HOST_GID={GID}")
    )


@pytest.fixture(scope="session")
def image(build: Build, checkout: Path) -> str:
    """Return the name of the built image."""
    build("--tag", IMAGE, cwd=checkout)
    return IMAGE
