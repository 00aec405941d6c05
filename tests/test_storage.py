"""Files are complete or absent: a failed write leaves the old file unchanged."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from seqel import storage
from seqel.errors import StorageError
from seqel.storage import append_line, atomic_directory, atomic_write
from support import files_at_most, names


def test_atomic_write_creates_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.toml"
    atomic_write(path, "é = 1\n")
    assert path.read_bytes() == "é = 1\n".encode()
    atomic_write(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert names(path.parent) == ["file.toml"]


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_atomic_write_failing_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        owner, name = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "write": (storage, "_write")}[call]
        patch.setattr(owner, name, full)
        with pytest.raises(StorageError, match=r"cannot write .*file: No space left on device") as caught:
            atomic_write(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_atomic_write_meets_a_real_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    with files_at_most(1000), pytest.raises(StorageError, match="File too large"):
        atomic_write(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        atomic_write(tmp_path / "file" / "below", b"")
    with pytest.raises(StorageError, match="cannot write"), atomic_directory(tmp_path / "file" / "below"):
        pass


def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # root may write anywhere, so change to an unprivileged user for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            atomic_write(tmp_path / "file", b"")
        with pytest.raises(StorageError, match="Permission denied"), atomic_directory(tmp_path / "tree"):
            pass
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert names(tmp_path) == []


def test_lines_are_added_and_a_broken_one_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    append_line(path, "é")
    append_line(path, "2")
    assert path.read_text(encoding="utf-8") == "é\n2\n"
    path.write_text("1\nbro")
    append_line(path, "3")
    assert path.read_text() == "1\nbro\n3\n"
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        append_line(tmp_path / "file" / "log.jsonl", "1")
