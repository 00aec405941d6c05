"""Results of benchmarks as JSON files: what is there is not measured again, and each names the commit that was measured."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seqel
from seqel.runs.run_config import CONFIG

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = ["commit", "measured", "memory", "show", "train_or_resume"]


def commit() -> str:
    """Return the commit of the code that ran, with "+" if files have changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "src") else "")


def measured(path: Path, only_read: bool, measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return what the file holds; if there is none, measure it and write it, or return None with `only_read`."""
    if not path.exists():
        if only_read:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        found = measure()
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def memory() -> float:
    """Return the process's memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def train_or_resume(folder: Path, env: Any = None, *, data: Any = None, progress: Any = None, **options: Any) -> Agent:
    """Train in a folder, or continue there if a run was interrupted. `options` are those of `seqel.train`."""
    progress = progress or show
    if (folder / CONFIG).exists():
        in_memory = None if isinstance(data, str | Path) else data
        return seqel.resume(folder, env=env, data=in_memory, progress=progress)
    return seqel.train(env, data=data, out=folder, progress=progress, **options)


def show(record: Any) -> None:
    """Print the validation in a training's record, if it has one."""
    if record.validation is not None:
        found = f"{record.validation.mean:.4f}"
        print(f"{record.steps or record.updates:,} {record.seconds:.0f} s: {found}", file=sys.stderr, flush=True)
