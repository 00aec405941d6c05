"""Reads the records of a run, metrics.jsonl, also while it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqel.errors import CheckpointError
from seqel.integrity import read_sealed

__all__ = ["METRICS", "read_records"]

METRICS = "metrics.jsonl"


def read_records(run: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Return every intact record of a run's folder, and the numbers (from 1) of damaged lines.

    A last line that a crash cut off is ignored silently. Raises CheckpointError if the file cannot be read.
    """
    path = run / METRICS
    if not path.exists():
        return [], []
    try:
        found, damaged, _ = read_sealed(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    return [line for line in found if _is_record(line)], damaged


def _is_record(line: dict[str, Any]) -> bool:
    """Return whether a line has the fields of every record; an intact line of another program may not."""
    validation = line.get("validation")
    numbers = all(isinstance(line.get(name), int | float) for name in ("steps", "seconds", "updates"))
    numbers = numbers and isinstance(line.get("best", {}), dict)
    if validation is None:
        return numbers
    return numbers and isinstance(validation, dict) and isinstance(validation.get("mean"), int | float | None)
