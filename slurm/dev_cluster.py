#!/usr/bin/env python3
"""A SLURM cluster of two nodes on this machine, for tests and for trying out the sbatch scripts.

In:  an empty or missing folder; munged, slurmctld and slurmd on the PATH or in /usr/sbin; root.
Out: the daemons run, both nodes are idle, and the folder holds slurm.conf, logs and `pids.json`.

    slurm/dev_cluster.py up /tmp/cluster        # prints the line that points SLURM's commands at it
    export SLURM_CONF=/tmp/cluster/slurm.conf
    sbatch --partition=high slurm/pretrain.sbatch ...
    slurm/dev_cluster.py down /tmp/cluster

Both nodes, n1 and n2, are this host: they have own ports and CPUS CPUs each, whatever the host has.
Partitions: `low`, the default, whose jobs are requeued when `high` needs the nodes, with GRACE_S
between the warning and the end; `abrupt`, the same without warning; `high`. Requeued jobs start
again after REQUEUE_DELAY_S, which SLURM sets to two minutes if nobody asks.

Only the standard library is used. Every daemon stays a child in the foreground until it answers;
`down` ends the processes named in `pids.json` and no others.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NODES = ("n1", "n2")
CPUS = 2
MEMORY_MB = 4000
GRACE_S = 20
KILL_WAIT_S = 30
REQUEUE_DELAY_S = 5
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
DAEMONS = ("munged", "slurmctld", "slurmd")
# A UNIX socket's path has room for 107 characters; "/spool.n1/n1_4294967295.4294967295" is added.
MAX_FOLDER_CHARACTERS = 70

Pids = dict[str, list[int]]


class ClusterError(Exception):
    """The cluster cannot be had; the text says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=["check", "up", "down"])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("/tmp/physioscale-slurm"))
    options = parser.parse_args(arguments)
    try:
        if options.action == "up":
            up(options.folder.resolve())
        elif options.action == "down":
            down(options.folder.resolve())
        else:
            check()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check() -> None:
    """Raise ClusterError where this machine cannot run a cluster."""
    missing = [name for name in DAEMONS if _find(name) is None]
    if missing:
        raise ClusterError(
            f"{', '.join(missing)} not found; on Debian and Ubuntu: "
            "apt-get install --no-install-recommends slurm-wlm munge"
        )
    if os.geteuid() != 0:
        raise ClusterError("SLURM's daemons start jobs for other users; run this as root")


def up(folder: Path) -> None:
    """Start a cluster in `folder` and wait until both nodes are idle."""
    check()
    if folder.exists() and any(folder.iterdir()):
        raise ClusterError(f"{folder} is not empty; `down` first, or name another folder")
    if len(str(folder)) > MAX_FOLDER_CHARACTERS:
        raise ClusterError(f"{folder} is too long a path for UNIX sockets; name a shorter one")
    _lay_out(folder)
    try:
        _start(folder)
    except BaseException:
        down(folder, keep=True)
        raise
    print(f"export SLURM_CONF={folder / 'slurm.conf'}")


def down(folder: Path, *, keep: bool = False) -> None:
    """Cancel all jobs, end the daemons, and remove `folder` unless it shall be kept.

    A job that ignores SIGTERM takes KILL_WAIT_S to end.
    """
    if not (folder / "pids.json").is_file():
        raise ClusterError(f"no cluster in {folder}: it has no pids.json")
    if _answers(folder):
        _slurm(folder, "scancel", "--state=PENDING")
        _slurm(folder, "scancel", "--state=RUNNING")
        _wait_until(lambda: not _steps(folder), STOP_TIMEOUT_S, f"jobs of {folder} to end")
    pids = _read_pids(folder)
    for name in reversed(pids):
        _end(name, pids[name])
    if not keep:
        shutil.rmtree(folder)


def _lay_out(folder: Path) -> None:
    for name in ("munge", "state", "logs", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # munged refuses folders that others may write to, and clients must reach the socket.
    for path in (folder, folder / "munge"):
        path.chmod(0o755)
    key = folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    (folder / "slurm.conf").write_text(_configuration(folder))
    _write_pids(folder, {})


def _configuration(folder: Path) -> str:
    controller, *nodes = _free_ports(1 + len(NODES))
    host = socket.gethostname().partition(".")[0]
    munge = f"socket={folder}/munge/socket"
    node_lines = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} "
        f"CPUs={CPUS} RealMemory={MEMORY_MB}"
        for name, port in zip(NODES, nodes, strict=True)
    )
    names = ",".join(NODES)
    return f"""\
ClusterName=physioscale-dev
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo={munge},cred_expire={REQUEUE_DELAY_S}
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
KillWait={KILL_WAIT_S}
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/logs/slurmctld
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/logs/slurmd.%n
{node_lines}
PartitionName=low Nodes={names} Default=YES PriorityTier=1 GraceTime={GRACE_S}
PartitionName=abrupt Nodes={names} PriorityTier=1
PartitionName=high Nodes={names} PriorityTier=10 PreemptMode=OFF
"""


def _start(folder: Path) -> None:
    munge = folder / "munge"
    munged = [
        "munged",
        "--foreground",
        f"--socket={munge}/socket",
        f"--key-file={munge}/key",
        f"--pid-file={munge}/pid",
        f"--seed-file={munge}/seed",
        f"--log-file={folder}/logs/munged",
    ]
    # /tmp is writable to all, which munged takes for a risk; its own folder in there is not.
    _launch(folder, "munged", [*munged, "--force"])
    _wait_until((munge / "socket").exists, START_TIMEOUT_S, "munged's socket")
    _launch(folder, "slurmctld", ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"])
    for node in NODES:
        _launch(folder, node, ["slurmd", "-D", "-N", node, "-f", f"{folder}/slurm.conf"])
    _wait_until(
        lambda: _states(folder) == ["idle"] * len(NODES),
        START_TIMEOUT_S,
        f"nodes {', '.join(NODES)} to be idle; see {folder}/logs",
    )


def _launch(folder: Path, name: str, command: Sequence[str]) -> None:
    program = _find(command[0])
    assert program is not None, "check() has found it"
    with (folder / "logs" / f"{name}.console").open("wb") as console:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            env=_environment(folder),
            cwd=folder,
        )
    pids = _read_pids(folder)
    pids[name] = [process.pid, _start_time(process.pid)]
    _write_pids(folder, pids)


def _end(name: str, entry: list[int]) -> None:
    pid, started = entry
    for signum, timeout_s in ((signal.SIGTERM, STOP_TIMEOUT_S / 2), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + timeout_s
        while _start_time(pid) == started and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
            time.sleep(0.2)
        if _start_time(pid) != started:
            return
    raise ClusterError(f"{name} (process {pid}) does not end")


def _start_time(pid: int) -> int:
    """Return when a process started (clock ticks since boot): a pid alone may be used again.

    -1 if it has ended, also where nobody has taken note of that yet (a zombie).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    state, *fields = stat.rpartition(")")[2].split()
    return -1 if state == "Z" else int(fields[18])


def _answers(folder: Path) -> bool:
    return _slurm(folder, "scontrol", "ping").returncode == 0


def _states(folder: Path) -> list[str]:
    done = _slurm(folder, "sinfo", "--noheader", "--Node", "--partition=low", "--format=%T")
    return done.stdout.split() if done.returncode == 0 else []


def _steps(folder: Path) -> list[Path]:
    """Return the sockets of running job steps; each ends with its step."""
    return [path for node in NODES for path in (folder / f"spool.{node}").glob(f"{node}_*.*")]


def _slurm(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, env=_environment(folder), check=False
    )


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment without what belongs to a job or to another cluster."""
    outer = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
    return {**outer, "SLURM_CONF": f"{folder}/slurm.conf"}


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def _read_pids(folder: Path) -> Pids:
    pids: Pids = json.loads((folder / "pids.json").read_text())
    return pids


def _write_pids(folder: Path, pids: Pids) -> None:
    (folder / "pids.json").write_text(json.dumps(pids, indent=2))


def _wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
