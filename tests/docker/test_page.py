"""docker/README.md, run from its first command to its last, and what is true afterwards."""

import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from tests.docker.conftest import Docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 30
# The page is written for the plugin; the older program takes the same words.
OLDER = """
docker() {
  if [ "$1" = compose ]; then shift; docker-compose "$@"; else command docker "$@"; fi
}
"""


@dataclass(frozen=True)
class Page:
    """What running the page left behind."""

    folder: Path
    printed: str
    recordings_before: dict[Path, str]


def hashes(folder: Path) -> dict[Path, str]:
    return {
        path: f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def page(docker: "Docker", image: str, checkout: Path, settings: dict[str, str]) -> Iterator[Page]:
    """Run all `sh` blocks of the page as the host user, in one shell."""
    text = (ROOT / "docker/README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    script = ["set -euo pipefail"]
    script += [OLDER] if docker.compose == ("docker-compose",) else []
    before = hashes(checkout / "data")
    try:
        printed = docker.log(
            "bash",
            "-c",
            "\n".join([*script, *blocks]),
            cwd=checkout,
            timeout_s=600,
            settings=settings,
        )
        yield Page(checkout, printed, before)
    finally:
        compose(docker, page_settings(settings), checkout, "dashboard", "down", "--volumes")


def page_settings(settings: dict[str, str], **changes: str) -> dict[str, str]:
    return {**settings, **{f"PHYSIOSCALE_{name.upper()}": value for name, value in changes.items()}}


def compose(
    docker: "Docker", settings: dict[str, str], folder: Path, profile: str, *words: str
) -> str:
    return docker(
        *docker.compose, "--profile", profile, *words, cwd=folder / "docker", settings=settings
    )


def rows(page: Page, run: str) -> list[dict[str, float]]:
    file = page.folder / "runs" / run / "metrics.jsonl"
    if not file.exists():
        return []
    # Without the line that is being written.
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_page_shards_verifies_trains_and_evaluates(page: Page) -> None:
    assert "16 recordings converted" in page.printed
    assert re.search(r"^sound$", page.printed, re.MULTILINE)
    assert f"finished: {NUM_STEPS} steps in runs/mine" in page.printed
    assert {row["step"] for row in rows(page, "mine")} == set(range(1, NUM_STEPS + 1))
    (result,) = (page.folder / "runs/mine/evaluations").glob("*.json")
    assert json.loads(result.read_text(encoding="utf-8"))


def test_files_belong_to_the_host_user(page: Page) -> None:
    owner = page.folder.stat()
    written = [*(page.folder / "shards").rglob("*"), *(page.folder / "runs").rglob("*")]
    assert len(written) > 20
    assert {(path.stat().st_uid, path.stat().st_gid) for path in written} == {
        (owner.st_uid, owner.st_gid)
    }


def test_recordings_are_read_only_and_untouched(
    docker: "Docker", page: Page, settings: dict[str, str]
) -> None:
    printed = docker.log(
        *docker.compose,
        *("run", "--rm", "shard", "touch", "data/mine/labels.csv"),
        cwd=page.folder / "docker",
        fails=True,
        settings=settings,
    )
    assert "Read-only file system" in printed
    assert hashes(page.folder / "data") == page.recordings_before


def test_dashboard_answers_on_loopback_only(page: Page, settings: dict[str, str]) -> None:
    port = int(settings["PHYSIOSCALE_DASHBOARD_PORT"])
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=10) as answer:
                tags = json.load(answer)
            if "mine/tensorboard" in tags:
                break
        except OSError:
            pass
        assert time.monotonic() < deadline, "no answer within 60 s"
        time.sleep(0.5)
    assert "loss" in tags["mine/tensorboard"]
    # A server that listens on every address would answer here as well.
    with pytest.raises(ConnectionRefusedError, match="refused"), socket.socket() as other:
        other.connect(("127.0.0.2", port))


def test_dashboard_becomes_healthy(docker: "Docker", page: Page, settings: dict[str, str]) -> None:
    name = compose(docker, settings, page.folder, "dashboard", "ps", "--quiet", "dashboard").strip()
    wait_for_health(docker, name)


def wait_for_health(docker: "Docker", container: str) -> None:
    for _ in range(120):
        state = docker("docker", "inspect", "--format", "{{json .State}}", container)
        if json.loads(state)["Health"]["Status"] == "healthy":
            return
        time.sleep(0.5)
    pytest.fail(f"not healthy within 60 s: {state}")


def test_killed_training_goes_on(docker: "Docker", page: Page, settings: dict[str, str]) -> None:
    line = settings["PHYSIOSCALE_TRAIN"].replace("run.name=mine", "run.name=killed")
    changed = page_settings(settings, train=line.replace("max_steps=30", "max_steps=60"))

    def up() -> str:
        compose(docker, changed, page.folder, "train-cpu", "up", "--detach", "train-cpu")
        return compose(
            docker, changed, page.folder, "train-cpu", "ps", "--quiet", "train-cpu"
        ).strip()

    first = up()
    deadline = time.monotonic() + 120
    while len(rows(page, "killed")) < 8:
        assert time.monotonic() < deadline, docker("docker", "logs", first)
        time.sleep(0.1)
    docker("docker", "kill", "--signal", "KILL", first)
    reached = int(rows(page, "killed")[-1]["step"])
    assert docker("docker", "wait", first).strip() == "137"

    second = up()
    wait_for_health(docker, second)
    assert docker("docker", "wait", second, timeout_s=240).strip() == "0"
    facts = json.loads((page.folder / "runs/killed/run.json").read_text(encoding="utf-8"))
    started = [launch["first_step"] for launch in facts["launches"]]
    # A checkpoint every 5 steps: at most 5 are taken again.
    assert started[0] == 0
    assert max(reached - 5, 5) <= started[1] <= reached
    again = [row["step"] for row in rows(page, "killed") if row["attempt"] == 2]
    assert again == list(range(started[1] + 1, 61))


def test_no_log_and_no_run_holds_the_key(
    docker: "Docker", page: Page, settings: dict[str, str], secret: str
) -> None:
    name = compose(
        docker, settings, page.folder, "train-cpu", "ps", "--all", "--quiet", "train-cpu"
    ).strip()
    assert f"WANDB_API_KEY={secret}" in docker("docker", "inspect", name)
    logs = compose(docker, settings, page.folder, "train-cpu", "logs", "train-cpu")
    assert f"finished: {NUM_STEPS} steps in runs/mine" in page.printed
    assert secret not in logs + page.printed
    files = [*(page.folder / "runs").rglob("*"), *(page.folder / "shards").rglob("*")]
    holding = [path for path in files if path.is_file() and secret.encode() in path.read_bytes()]
    assert holding == []


def test_compose_says_what_is_not_set(docker: "Docker", page: Page) -> None:
    other = page.folder / "docker" / "unset"
    other.mkdir()
    text = (page.folder / "docker/docker-compose.yaml").read_text(encoding="utf-8")
    (other / "docker-compose.yaml").write_text(text, encoding="utf-8")
    printed = docker.log(*docker.compose, "--profile", "shard", "config", cwd=other, fails=True)
    assert re.search(r'write the output of "id -[ug]" into docker/\.env', printed)


def test_profile_train_asks_the_daemon_for_gpus(
    docker: "Docker", page: Page, settings: dict[str, str]
) -> None:
    """Nothing more can be shown on a machine without one: the container is made, not started."""
    compose(docker, settings, page.folder, "train", "up", "--no-start", "train")
    name = compose(
        docker, settings, page.folder, "train", "ps", "--all", "--quiet", "train"
    ).strip()
    (request,) = json.loads(
        docker("docker", "inspect", "--format", "{{json .HostConfig.DeviceRequests}}", name)
    )
    assert request["Driver"] == "nvidia"
    assert request["Count"] == -1
    assert request["Capabilities"] == [["gpu"]]


def test_containers_share_memory_and_have_no_privileges(
    docker: "Docker", page: Page, settings: dict[str, str]
) -> None:
    name = compose(docker, settings, page.folder, "dashboard", "ps", "--quiet", "dashboard").strip()
    host = json.loads(docker("docker", "inspect", "--format", "{{json .HostConfig}}", name))
    assert host["IpcMode"] == "host"
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not host["Privileged"]
    assert host["RestartPolicy"]["Name"] in ("", "no")
