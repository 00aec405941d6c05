"""Durable files: either the new content is complete, or the old content is untouched.

Everything is written under a temporary name next to its final one, flushed to disk, and renamed.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from seqel.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Claim",
    "append_line",
    "atomic_create",
    "atomic_directory",
    "atomic_write",
    "cache_folder",
    "mapped",
    "writing",
]


def cache_folder(name: str) -> Path:
    """Return the folder `name` in the user's cache ($XDG_CACHE_HOME/seqel, by default ~/.cache/seqel). It may not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqel" / name


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader, or a crash, finds either the old content or the new, never a part. Text becomes UTF-8.

    Raises StorageError (full disk, no permission); the old content is then untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_create(path: Path, data: bytes | str) -> None:
    """Like `atomic_write`, for a file that must not exist yet: if several processes write at once, one succeeds.

    Raises FileExistsError (also if another process was faster), StorageError as `atomic_write`.
    """
    temporary = path.with_name(f".{path.name}.new-{os.getpid()}-{threading.get_ident()}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, data.encode() if isinstance(data, str) else data)
        try:
            os.link(temporary, path)  # fails if the name is taken, and never exposes partial content
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(path) from None
            with writing(path):
                temporary.replace(path)
        with writing(path):
            _sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which is created if it does not exist; it is on the disk when this returns.

    If the file ends in the middle of a line, because a program was killed, the new one begins on its own.

    Raises StorageError (full disk, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            whole = True
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                whole = file.read(1) == b"\n"
            file.write(("" if whole else "\n").encode() + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _storage_error(path, error) from error


def mapped(shape: tuple[int, ...], dtype: np.dtype[Any], directory: Path) -> NDArray[Any]:
    """Return an array whose memory is an unnamed file in `directory`; the file disappears with the array or the process.

    The disk space is reserved at once: if the disk filled up later, a write would kill the process.

    Raises StorageError if there is not enough space.
    """
    import numpy as np

    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            size = max(1, math.prod(shape) * dtype.itemsize)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape)


class Claim:
    """A lock on a directory for one writer, until it is released or the process ends, in whatever way.

    Raises:
        StorageError: another process holds it. On systems without such locks, no one is kept out.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor: int | None = None
        try:
            import fcntl
        except ImportError:  # Windows
            return
        with writing(directory):
            self._descriptor = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StorageError(f"{directory} is in use: another process is writing to it") from error
        except OSError:  # a file system without locks
            self.release()

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write `path` inside the block into a StorageError that says what failed."""
    try:
        yield
    except OSError as error:
        raise _storage_error(path, error) from error


@contextmanager
def atomic_directory(
    directory: Path, *, replace: bool = False, fault: Callable[[str], None] | None = None
) -> Iterator[Path]:
    """Yield a temporary directory `.<name>.tmp-<pid>` to fill with files; it becomes `directory` when the block ends.

    `replace` puts it in the place of an existing one by two renames; a kill between them leaves the old one as
    `.<name>.old-<pid>`. If the block fails, the temporary directory is removed. `fault(stage)` is a test hook, called before
    the stages "sync", "rename" and "end". Raises StorageError (full disk, no permission, the name is taken).
    """
    temporary = directory.with_name(f".{directory.name}.tmp-{os.getpid()}")
    aside = directory.with_name(f".{directory.name}.old-{os.getpid()}")
    fault = fault or _no_fault
    try:
        if os.path.lexists(directory) and not replace:
            raise StorageError(f"cannot write {directory}: expected a free name, but it already exists")
        directory.parent.mkdir(parents=True, exist_ok=True)
        for left in (temporary, aside):  # left by a dead process with the same number
            if left.exists():
                shutil.rmtree(left)
        temporary.mkdir()
        yield temporary
        fault("sync")
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        fault("rename")
        if os.path.lexists(directory):
            directory.rename(aside)
            try:
                temporary.rename(directory)
            except OSError:
                aside.rename(directory)
                raise
        else:
            temporary.rename(directory)
        fault("end")
        _sync(directory.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        raise _storage_error(directory, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Flush a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(path: Path, error: Exception) -> StorageError:
    reason = getattr(error, "strerror", None) or str(error)
    raised = StorageError(f"cannot write {path}: {reason}; existing files are untouched")
    raised.errno = getattr(error, "errno", None)
    return raised


def _no_fault(stage: str) -> None:
    """Do nothing; replaced by a test hook."""
