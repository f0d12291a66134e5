"""The console script: parser, exit status, and no traceback for a user's mistake."""

import argparse
import dataclasses
import errno
import os
import shlex
import subprocess
import sys

import pytest

from physioscale import __version__
from physioscale.cli import main as main_module
from physioscale.cli.command import Command
from physioscale.cli.main import build_parser, load_commands, main
from physioscale.errors import InputError

OURS = {"cp", "doctor", "ls", "new", "show", "validate"}


def command_that(run: object) -> Command:
    assert callable(run)
    return Command(
        name="try", help="Try", example="physioscale try", add_arguments=lambda p: None, run=run
    )


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> object:
    def _only(run: object) -> None:
        monkeypatch.setattr(main_module, "load_commands", lambda: [command_that(run)])

    return _only


def test_commands_come_from_entry_points() -> None:
    assert {command.name for command in load_commands()} >= OURS


def test_every_command_has_a_help_sentence_and_a_real_example() -> None:
    commands = load_commands()
    parser = build_parser(commands)
    for command in commands:
        assert command.help[0].isupper(), command.name
        assert not command.help.endswith("."), command.name
        lines = command.example.strip().splitlines()
        assert lines, command.name
        for line in lines:
            words = shlex.split(line)
            assert words[:2] == ["physioscale", command.name]
            parser.parse_args(words[1:])  # a wrong example would exit


@pytest.mark.parametrize("name", sorted(OURS))
def test_help_prints_the_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert "example:\n  physioscale " in printed
    assert f"usage: physioscale {name}" in printed


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"physioscale {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [[], ["frobnicate"], ["ls", "--jsn"], ["cp", "only_one"], ["show", "r", "a=1", "--jsn"]],
)
def test_wrong_words_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: physioscale" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["a=1", "b=2", "--json"], ["--json", "a=1", "b=2"], ["a=1", "--json", "b=2"]]
)
def test_settings_may_stand_around_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[argparse.Namespace] = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 0

    show = next(command for command in load_commands() if command.name == "show")
    command = dataclasses.replace(show, run=run)
    monkeypatch.setattr(main_module, "load_commands", lambda: [command])
    assert main(["show", "name", *words]) == 0
    assert (seen[0].recipe, seen[0].overrides, seen[0].json) == ("name", ["a=1", "b=2"], True)


def test_status_of_the_command_is_returned(only: object) -> None:
    assert callable(only)
    only(lambda arguments: 1)
    assert main(["try"]) == 1


def test_bad_input_is_one_line_and_2(only: object, capsys: pytest.CaptureFixture[str]) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise InputError("here", found="this", expected="that", do="Change it.")

    assert callable(only)
    only(run)
    assert main(["try"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: here: this; expected that. Change it.\n"
    assert captured.out == ""


def test_interrupt_is_130(only: object, capsys: pytest.CaptureFixture[str]) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert callable(only)
    only(run)
    assert main(["try"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("number", "do"),
    [
        (errno.EACCES, "Change its permissions"),
        (errno.EROFS, "Change its permissions"),
        (errno.ENOSPC, "Make room"),
        (errno.ENOTDIR, "Check the path"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_2(
    number: int, do: str, only: object, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise OSError(number, os.strerror(number), "out/x")

    assert callable(only)
    only(run)
    assert main(["try"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: out/x: the system refuses it ({os.strerror(number)});")
    assert do in error
    assert error.count("\n") == 1


def test_a_full_disk_that_names_no_file_is_one_line_and_2(
    only: object, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert callable(only)
    only(run)
    assert main(["try"]) == 2
    assert capsys.readouterr().err.startswith("error: the file system: the system refuses it")


def test_a_missing_file_that_nobody_named_keeps_its_traceback(only: object) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "ours")

    assert callable(only)
    only(run)
    with pytest.raises(FileNotFoundError, match="ours"):
        main(["try"])


def test_interrupt_while_commands_are_loaded_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> list[Command]:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "load_commands", load)
    assert main(["try"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_fault_of_ours_keeps_its_traceback(only: object) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise RuntimeError("ours")

    assert callable(only)
    only(run)
    with pytest.raises(RuntimeError, match="ours"):
        main(["try"])


def test_entry_point_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "other"

        def load(self) -> Command:
            return command_that(lambda arguments: 0)

    monkeypatch.setattr(main_module, "entry_points", lambda group: [Entry()])
    with pytest.raises(TypeError, match=r"entry point 'other' .* is not a Command 'other'"):
        load_commands()


def test_closed_pipe_ends_quietly() -> None:
    script = f"{sys.executable} -m physioscale.cli.main ls --json | true; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stderr == ""
    assert run.stdout == "0\n"


def test_mistake_in_a_real_process_prints_no_traceback() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "physioscale.cli.main", "show", "no_such_recipe"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: unknown recipe 'no_such_recipe'")
    assert run.stderr.count("\n") == 1
