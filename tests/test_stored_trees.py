"""A stored tree is complete or absent, is restored bit for bit, and damage is found and named."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from seqel.errors import CheckpointError, SeqelError, StorageError
from seqel.storage import atomic_directory
from seqel.stored_trees import load_tree, save_tree, verify_tree
from support import files_at_most, names

TREE = {
    "step": 7,
    "weights": torch.arange(6.0).reshape(2, 3),
    "replay": [np.zeros(3, np.uint8), (None, "é", float("inf"))],
}
FILES = ["arrays.safetensors", "manifest.json", "tree.json"]
STAGES = ["tree.json", "arrays.safetensors", "manifest.json", "sync", "rename"]


def test_everything_is_flushed_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append("RENAME")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    save_tree(tmp_path / "tree", TREE)
    at = events.index("RENAME")
    assert {*FILES, f".tree.tmp-{os.getpid()}"} <= set(events[:at])
    assert events[at + 1 :] == [tmp_path.name]


def test_a_saved_tree_is_restored(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "tree"
    save_tree(directory, TREE)
    assert names(directory) == FILES
    assert names(directory.parent) == ["tree"]
    back = load_tree(directory)
    torch.testing.assert_close(back["weights"], TREE["weights"], rtol=0, atol=0)
    np.testing.assert_array_equal(back["replay"][0], np.zeros(3, np.uint8))
    assert back["replay"][1] == (None, "é", float("inf"))
    assert back["step"] == 7
    modes = {stat.S_IMODE((directory / name).stat().st_mode) for name in FILES}
    assert len(modes) == 1, "all files are readable by the same people"
    save_tree(tmp_path / "empty", {})
    assert load_tree(tmp_path / "empty") == {}


def test_loaded_values_do_not_depend_on_the_file(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", TREE)
    back = load_tree(tmp_path / "tree")
    (tmp_path / "tree" / "arrays.safetensors").write_bytes(b"")
    back["weights"] += 1  # a memory map of the file would now crash
    back["replay"][0][:] = 3
    assert back["weights"].sum() == 21


def test_a_taken_name_is_refused_unless_replaced(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", 1)
    with pytest.raises(StorageError, match="already exists"):
        save_tree(tmp_path / "tree", 2)
    assert load_tree(tmp_path / "tree") == 1
    save_tree(tmp_path / "tree", 2, replace=True)
    assert load_tree(tmp_path / "tree") == 2
    assert names(tmp_path) == ["tree"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_at_any_stage_leaves_nothing(tmp_path: Path, stage: str, replace: bool) -> None:
    save_tree(tmp_path / "old", 1)
    seen: list[str] = []

    def fault(now: str) -> None:
        seen.append(now)
        if now == stage:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="No space left") as caught:
        save_tree(tmp_path / ("old" if replace else "new"), TREE, replace=replace, fault=fault)
    assert isinstance(caught.value, SeqelError)
    assert seen == STAGES[: STAGES.index(stage) + 1]
    assert names(tmp_path) == ["old"]
    assert load_tree(tmp_path / "old") == 1


@pytest.mark.parametrize("size", [10, 1000])  # the first stops tree.json, the second safetensors' own writer
def test_tree_meets_a_real_limit(tmp_path: Path, size: int) -> None:
    save_tree(tmp_path / "old", 1)
    with files_at_most(size), pytest.raises(StorageError, match="File too large"):
        save_tree(tmp_path / "new", {"a": torch.zeros(10_000)})
    assert names(tmp_path) == ["old"]
    assert load_tree(tmp_path / "old") == 1


def test_a_failed_swap_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tree(tmp_path / "tree", 1)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if ".tmp-" in self.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StorageError, match="Permission denied"):
        save_tree(tmp_path / "tree", 2, replace=True)
    assert names(tmp_path) == ["tree"]
    assert load_tree(tmp_path / "tree") == 1


def test_interruption_and_other_errors_pass_through(tmp_path: Path) -> None:
    def interrupt(stage: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_tree(tmp_path / "tree", TREE, fault=interrupt)
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "tree"):
        _ = 1 // 0
    assert names(tmp_path) == []


def test_leftover_of_a_dead_process_with_our_number(tmp_path: Path) -> None:
    left = tmp_path / f".tree.tmp-{os.getpid()}"
    left.mkdir()
    (left / "arrays.safetensors").write_bytes(b"half")
    save_tree(tmp_path / "tree", 1)
    assert names(tmp_path) == ["tree"]
    assert load_tree(tmp_path / "tree") == 1


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("name", FILES)
def test_missing_truncated_grown_or_empty_file(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "tree"
    save_tree(directory, TREE)
    whole = (directory / name).read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"):
        (directory / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name) as caught:
            load_tree(directory)
        if name != "manifest.json":
            assert f"expected {len(whole)} bytes, got {len(content)}" in str(caught.value)
    (directory / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read \(No such file"):
        load_tree(directory)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_found(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "tree"
    save_tree(directory, TREE)
    whole = (directory / name).read_bytes()
    for at in range(len(whole)):
        for flip in (1, 32, 255):
            (directory / name).write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(CheckpointError, match=name):
                verify_tree(directory)
    (directory / name).write_bytes(whole)
    verify_tree(directory)


def test_an_altered_file_is_reported_with_both_checksums(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", {"step": 1})
    (tmp_path / "tree" / "tree.json").write_text('{"dict":{"step":2}}')
    with pytest.raises(CheckpointError, match=r"tree\.json was altered: expected CRC-32 [0-9a-f]{8}, got [0-9a-f]{8}"):
        load_tree(tmp_path / "tree")


def test_another_version_or_format(tmp_path: Path) -> None:
    directory = tmp_path / "tree"
    save_tree(directory, TREE)
    manifest = json.loads((directory / "manifest.json").read_text())
    for key, value, message in (
        ("version", 2, "got 'seqel-tree' version 2"),
        ("format", "zip", "got 'zip' version 1"),
    ):
        (directory / "manifest.json").write_text(json.dumps({**manifest, key: value}))
        with pytest.raises(CheckpointError, match=f"expected format 'seqel-tree' version 1, {message}"):
            load_tree(directory)
    (directory / "manifest.json").write_text("[]")
    with pytest.raises(CheckpointError, match="damaged"):
        load_tree(directory)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got none"):
        load_tree(tmp_path / "nothing")
