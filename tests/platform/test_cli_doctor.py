"""`physioscale doctor`: a verdict for each check, and what makes it warn or fail."""

import importlib
import importlib.metadata
import json
import locale
import shutil
import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from physioscale.cli import doctor, environment
from physioscale.cli.environment import Check
from physioscale.cli.main import main

Usage = namedtuple("Usage", ["total", "used", "free"])
NAMES = [
    "python",
    "torch",
    "lightning",
    "deepspeed",
    "mne",
    "webdataset",
    "other packages",
    "cpu",
    "memory",
    "gpu",
    "shared memory",
    "disk",
    "encoding",
]


@pytest.fixture
def no_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that importing lightning and deepspeed takes."""
    monkeypatch.setattr(importlib, "import_module", lambda name: None)


@pytest.mark.usefixtures("no_imports")
def test_json_has_a_verdict_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in report["checks"]] == NAMES
    assert {check["verdict"] for check in report["checks"]} <= {"ok", "warn", "fail"}
    assert all(check["found"] for check in report["checks"])
    assert status == (1 if report["verdict"] == "fail" else 0)


@pytest.mark.usefixtures("no_imports")
def test_text_has_a_line_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NAMES) + 1
    for name, line in zip(NAMES, lines, strict=False):
        assert line.split()[0] in {"ok", "warn", "fail"}
        assert name in line
    assert lines[-1].startswith("verdict: ")


@pytest.mark.parametrize(
    ("verdicts", "worst", "status"),
    [(["ok"], "ok", 0), (["ok", "warn"], "warn", 0), (["warn", "fail", "ok"], "fail", 1)],
)
def test_only_a_failure_is_status_1(
    verdicts: list[Any],
    worst: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = [Check("x", verdict, "found") for verdict in verdicts]
    monkeypatch.setattr(doctor, "run_checks", lambda: checks)
    assert main(["doctor"]) == status
    assert capsys.readouterr().out.endswith(f"verdict: {worst}\n")


def test_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert environment.check_package("mne") == Check(
        "mne", "fail", "mne is not installed; mne>=1.13 is needed"
    )
    assert environment.check_other_packages(without=["mne"]).verdict == "fail"


def test_package_of_another_version_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1")
    check = environment.check_package("mne")
    assert (check.verdict, check.found) == ("fail", "mne 0.1; mne>=1.13 is needed")


def test_package_that_does_not_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise OSError("libcudart.so.12: cannot open\nshared object file")

    monkeypatch.setattr(importlib, "import_module", import_module)
    check = environment.check_package("mne")
    assert check.verdict == "fail"
    assert check.found == (
        "does not import: OSError: libcudart.so.12: cannot open shared object file"
    )


def test_package_that_prints_on_import_does_not_spoil_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy_package.py").write_text("print('hello')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    required = SimpleNamespace(specifier=SimpleNamespace(contains=lambda *a, **k: True))
    monkeypatch.setattr(environment, "_requirements", lambda: {"noisy_package": required})
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1")
    assert environment.check_package("noisy_package").verdict == "ok"
    assert "noisy_package" in sys.modules
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("total_gb", "verdict"), [(0.064, "warn"), (0.99, "warn"), (1.0, "ok"), (64.0, "ok")]
)
def test_small_shared_memory_is_a_warning(
    total_gb: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total_gb * 1e9, 0, 0))
    check = environment.check_shared_memory()
    assert check.verdict == verdict
    assert ("ipc: host" in check.found) == (verdict == "warn")


def test_system_without_shared_memory_folder_is_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "SHARED_MEMORY", tmp_path / "none")
    assert environment.check_shared_memory().verdict == "ok"


@pytest.mark.parametrize(("free_gb", "verdict"), [(0.5, "fail"), (5.0, "warn"), (50.0, "ok")])
def test_full_disk(free_gb: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free_gb * 1e9))
    check = environment.check_disk()
    assert check.verdict == verdict
    assert str(Path.cwd()) in check.found


def test_limits_of_a_container_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, cpu = tmp_path / "memory.max", tmp_path / "cpu.max"
    memory.write_text("2000000000\n", encoding="ascii")
    cpu.write_text("50000 100000\n", encoding="ascii")
    monkeypatch.setattr(environment, "CGROUP_MEMORY", memory)
    monkeypatch.setattr(environment, "CGROUP_CPU", cpu)
    assert environment.memory_bytes() == 2_000_000_000
    assert environment.check_memory() == Check("memory", "warn", "2.0 GB; 4 GB or more is advised")
    assert environment.check_cpu().found.endswith("limited to the time of 0.5")
    memory.write_text("max\n", encoding="ascii")
    cpu.write_text("max 100000\n", encoding="ascii")
    assert (environment.memory_bytes() or 0) > 0
    assert "limited" not in environment.check_cpu().found


def fake_cuda(*, available: bool, bf16: bool, build: str | None) -> SimpleNamespace:
    cuda = SimpleNamespace(
        is_available=lambda: available,
        device_count=lambda: 2,
        get_device_properties=lambda i: SimpleNamespace(name=f"GPU-{i}", total_memory=80e9),
        nccl=SimpleNamespace(version=lambda: (2, 27, 3)),
        is_bf16_supported=lambda including_emulation: bf16,
    )
    return SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda=build))


@pytest.mark.parametrize(
    ("torch", "driver", "verdict", "found"),
    [
        (
            fake_cuda(available=True, bf16=True, build="13.0"),
            True,
            "ok",
            "2: GPU-0 (80 GB), GPU-1 (80 GB); CUDA 13.0, NCCL 2.27.3, bf16",
        ),
        (fake_cuda(available=True, bf16=False, build="13.0"), True, "warn", "no bf16: train with"),
        (fake_cuda(available=False, bf16=False, build=None), True, "warn", "a build without CUDA"),
        (fake_cuda(available=False, bf16=False, build="13.0"), True, "warn", "finds no device"),
        (fake_cuda(available=False, bf16=False, build=None), False, "ok", "training runs on the"),
    ],
)
def test_gpus(
    torch: SimpleNamespace,
    driver: bool,
    verdict: str,
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(environment, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    check = environment.check_gpus()
    assert check.verdict == verdict
    assert found in check.found


@pytest.mark.parametrize(
    ("text", "verdict"), [("UTF-8", "ok"), ("utf8", "ok"), ("ANSI_X3.4-1968", "warn")]
)
def test_encoding(text: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "getpreferredencoding", lambda do_setlocale: text)
    assert environment.check_encoding().verdict == verdict
