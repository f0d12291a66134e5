"""Checkpoints are whole or not there, damage is named, and retention removes nothing else."""

import json
from pathlib import Path

import pytest

from physioscale.errors import InputError
from physioscale.training.checkpoint import (
    LATEST,
    MANIFEST,
    begin_checkpoint,
    checkpoint_step,
    list_checkpoints,
    publish_checkpoint,
    retain,
    verify_checkpoint,
)


def save(folder: Path, *, step: int, content: bytes = b"weights") -> Path:
    temporary = begin_checkpoint(folder, step=step)
    (temporary / "model.bin").write_bytes(content)
    (temporary / "deep").mkdir()
    (temporary / "deep" / "rank-0.bin").write_bytes(b"moments")
    return publish_checkpoint(folder, step=step)


def names(folder: Path) -> list[str]:
    return [path.name for path in list_checkpoints(folder)]


def test_a_checkpoint_is_seen_only_when_it_is_published(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "none") == []
    temporary = begin_checkpoint(tmp_path, step=7)
    (temporary / "model.bin").write_bytes(b"half a mod")
    assert list_checkpoints(tmp_path) == []
    # The next attempt starts from an empty folder: nothing of the killed one gets in.
    path = save(tmp_path, step=7)
    assert names(tmp_path) == ["step-00000007"]
    assert set(json.loads((path / MANIFEST).read_text())) == {"model.bin", "deep/rank-0.bin"}
    assert (tmp_path / LATEST).read_text() == "step-00000007\n"
    verify_checkpoint(path)


def test_checkpoints_are_in_the_order_of_steps(tmp_path: Path) -> None:
    for step in (9, 10, 123_456_789):
        save(tmp_path, step=step)
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [9, 10, 123_456_789]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, step=7)
    path = save(tmp_path, step=7, content=b"other weights")
    assert (path / "model.bin").read_bytes() == b"other weights"
    assert sorted(p.name for p in tmp_path.iterdir()) == [LATEST, "step-00000007"]
    verify_checkpoint(path)


@pytest.mark.parametrize("damage", ["flip", "cut", "lose", "add", "manifest", "no manifest"])
def test_damage_is_named_and_the_last_whole_one_offered(tmp_path: Path, damage: str) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step=step)
    (tmp_path / "step-00000020" / "deep" / "rank-0.bin").write_bytes(b"momentX")
    path = tmp_path / "step-00000030"
    file = path / "deep" / "rank-0.bin"
    found = ""
    if damage == "flip":
        file.write_bytes(b"momenta")
        found = "rank-0.bin: a content that was changed"
    elif damage == "cut":
        file.write_bytes(b"mom")
        found = "rank-0.bin: 3 bytes, not 7"
    elif damage == "lose":
        file.unlink()
        found = "rank-0.bin: no such file"
    elif damage == "add":
        (path / "more.bin").write_bytes(b"x")
        found = "more.bin: a file that the manifest does not list"
    elif damage == "manifest":
        (path / MANIFEST).write_text('{"model.bin": 3}')
        found = "manifest.json: a damaged manifest"
    else:
        (path / MANIFEST).unlink()
        found = "manifest.json: no such file"
    with pytest.raises(InputError, match=found) as error:
        verify_checkpoint(path)
    assert "remove the folder step-00000030 to go on from step-00000010" in str(error.value)


def test_without_a_whole_checkpoint_the_start_is_offered(tmp_path: Path) -> None:
    path = save(tmp_path, step=5)
    (path / "model.bin").unlink()
    with pytest.raises(InputError, match="start again from step 0"):
        verify_checkpoint(path)


def test_retention_removes_old_checkpoints_and_leftovers_only(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    elsewhere = save(tmp_path / "elsewhere", step=1)
    for step in (10, 20, 30):
        save(folder, step=step)
    (folder / "step-00000001").symlink_to(elsewhere)
    (folder / "step-best").mkdir()
    (folder / "notes.txt").write_text("mine")
    begin_checkpoint(folder, step=25)
    retain(folder, keep=2)
    assert names(folder) == ["step-00000020", "step-00000030"]
    kept = {"latest", "notes.txt", "step-00000001", "step-best", *names(folder)}
    assert {path.name for path in folder.iterdir()} == kept
    verify_checkpoint(elsewhere)


def test_other_folders_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of another name"):
        checkpoint_step(tmp_path / "best")
