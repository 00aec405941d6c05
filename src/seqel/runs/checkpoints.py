"""A folder of checkpoints: each whole or absent, the last few kept, the newest intact one found again.

A checkpoint is a directory `step-000000123` that `seqel.storage.save_tree` wrote.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from seqel.errors import CheckpointError, ConfigError, StorageError
from seqel.storage import load_tree, save_tree, verify_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CheckpointStore"]

_NAME = re.compile(r"step-(\d{9,})")
_LEFTOVER = re.compile(r"\.step-\d{9,}\.(?:tmp|old)-(\d+)")


class CheckpointStore:
    """The checkpoints of one run; one process writes at a time.

    `warnings` says which checkpoints the last `latest` or `load` had to skip, and why.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        """Nothing is created or read yet. Raises ConfigError where `keep` < 1."""
        if keep < 1:
            raise ConfigError(f"keep: expected at least 1 checkpoint to keep, came {keep}")
        self.directory = directory
        self.keep = keep
        self.warnings: tuple[str, ...] = ()
        self._damaged: set[Path] = set()  # what `latest` met; it does not count as kept

    def __repr__(self) -> str:
        steps = [step for step, _ in self._found()]
        return f"CheckpointStore({str(self.directory)!r}, keep={self.keep}, steps={steps})"

    def save(self, step: int, tree: Any, *, fault: Callable[[str], None] | None = None) -> Path:
        """Store a tree as the checkpoint of `step`, then remove the older ones beyond `keep`.

        What was saved last is what a run goes on from. So a checkpoint of the same step is replaced, and those of
        later steps are removed: they are damaged, or of a continuation that was given up by resuming from before them.
        Earlier ones that `latest` found damaged are removed too.
        Nothing is removed before the new one is on the disk. `fault` is a test's hook, as in `save_tree`.

        Raises StorageError (a full disk, no permission); every earlier checkpoint is then untouched.
        """
        if step < 0:
            raise ConfigError(f"step: expected 0 or more, came {step}")
        path = self.directory / f"step-{step:09d}"
        save_tree(path, tree, replace=True, fault=fault)
        self._damaged.discard(path)
        kept = 0
        for number, other in self._found():
            if number <= step and other not in self._damaged and kept < self.keep:
                kept += 1
            else:
                self._remove(other)
        self._sweep()
        return path

    def latest(self) -> Path | None:
        """The newest checkpoint that is intact, or None; damaged ones are skipped and told in `warnings`."""
        warnings: list[str] = []
        found = None
        for _, path in self._found():
            try:
                verify_tree(path)
            except CheckpointError as error:
                warnings.append(f"skipped {path.name}: {error}")
                self._damaged.add(path)
            else:
                found = path
                break
        self.warnings = tuple(warnings)
        return found

    def load(self, path: Path | None = None) -> Any:
        """The tree of one checkpoint; without a path, of the newest that is intact.

        Raises CheckpointError where that one is missing or damaged, or where none is intact.
        """
        if path is not None:
            self.warnings = ()
            return load_tree(path)
        newest = self.latest()
        if newest is None:
            skipped = "".join(f"\n  {warning}" for warning in self.warnings)
            raise CheckpointError(f"{self.directory}: expected an intact checkpoint step-*, but there is none{skipped}")
        return load_tree(newest)

    def _found(self) -> list[tuple[int, Path]]:
        """Every checkpoint by name, newest first."""
        if not self.directory.is_dir():
            return []
        matches = [(match, path) for path in self.directory.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted(((int(match[1]), path) for match, path in matches), reverse=True)

    def _remove(self, path: Path) -> None:
        """Remove under another name, so that a kill in the middle leaves no half checkpoint under a true name."""
        aside = path.with_name(f".{path.name}.old-{os.getpid()}")
        try:
            path.rename(aside)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror}") from error
        shutil.rmtree(aside, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what dead processes left half written or half removed."""
        for path in self.directory.iterdir():
            if (match := _LEFTOVER.fullmatch(path.name)) and not _alive(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    """Whether a process other than this one has that number; on this machine, which is where a run writes."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
