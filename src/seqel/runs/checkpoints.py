"""A folder of checkpoints. Each is complete or absent; the last few are kept; loading finds the newest intact one.

A checkpoint is a directory `step-000000123` that `seqel.stored_trees.save_tree` wrote.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from seqel.errors import CheckpointError, ConfigError, StorageError
from seqel.stored_trees import load_tree, save_tree, verify_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CheckpointStore"]

_NAME = re.compile(r"step-(\d{9,})")
_LEFTOVER = re.compile(r"\.step-\d{9,}\.(?:tmp|old)-(\d+)")


class CheckpointStore:
    """The checkpoints of one run; one process writes at a time.

    `warnings` lists the checkpoints that the last `latest` or `load` skipped, with reasons.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        """Creates and reads nothing yet. Raises ConfigError if `keep` < 1."""
        if keep < 1:
            raise ConfigError(f"keep: expected at least 1 checkpoint to keep, got {keep}")
        self.directory = directory
        self.keep = keep
        self.warnings: tuple[str, ...] = ()
        self._damaged: set[Path] = set()  # found by `latest`; not counted as kept

    def __repr__(self) -> str:
        steps = [step for step, _ in self._found()]
        return f"CheckpointStore({str(self.directory)!r}, keep={self.keep}, steps={steps})"

    def save(self, step: int, tree: Any, *, fault: Callable[[str], None] | None = None) -> Path:
        """Store a tree as the checkpoint of `step`, then remove the oldest ones beyond `keep`.

        A run continues from what was saved last. So a checkpoint of the same step is replaced, and checkpoints of later
        steps are removed: they are damaged, or belong to a continuation that was abandoned by resuming before them.
        Earlier checkpoints that `latest` found damaged are removed too.
        Nothing is removed before the new one is on the disk. `fault` is a test hook, as in `save_tree`.

        Raises StorageError (full disk, no permission); every earlier checkpoint is then untouched.
        """
        if step < 0:
            raise ConfigError(f"step: expected 0 or more, got {step}")
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
        """Return the newest intact checkpoint, or None. Damaged ones are skipped and listed in `warnings`."""
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
        """Return the tree of a checkpoint; without a path, of the newest intact one.

        Raises CheckpointError if it is missing or damaged, or if no checkpoint is intact.
        """
        if path is not None:
            self.warnings = ()
            return load_tree(path)
        newest = self.latest()
        if newest is None:
            skipped = "".join(f"\n  {warning}" for warning in self.warnings)
            raise CheckpointError(f"{self.directory}: expected an intact checkpoint step-*, got none{skipped}")
        return load_tree(newest)

    def _found(self) -> list[tuple[int, Path]]:
        """Return every checkpoint by its name, newest first."""
        if not self.directory.is_dir():
            return []
        matches = [(match, path) for path in self.directory.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted(((int(match[1]), path) for match, path in matches), reverse=True)

    def _remove(self, path: Path) -> None:
        """Remove a checkpoint after renaming it, so that a kill midway leaves no partial checkpoint under a valid name."""
        aside = path.with_name(f".{path.name}.old-{os.getpid()}")
        try:
            path.rename(aside)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror}") from error
        shutil.rmtree(aside, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what dead processes left half-written or half-removed."""
        for path in self.directory.iterdir():
            if (match := _LEFTOVER.fullmatch(path.name)) and not _alive(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    """Return whether another process with this number is running on this machine, which is where the run writes."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
