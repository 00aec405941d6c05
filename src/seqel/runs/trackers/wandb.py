"""Weights & Biases. Its own environment variables apply: WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY, ..."""

from __future__ import annotations

import dataclasses
import re
import secrets
from pathlib import Path
from typing import Any

from seqel.extras import require
from seqel.runs.trackers.base import scalars
from seqel.storage import atomic_write
from seqel.training.config import RunConfig
from seqel.training.record import Record

__all__ = ["WandbTracker"]

ID = "wandb-id"  # in the run's folder, so that a resumed run is the same one there


class WandbTracker:
    """One run there per run folder. `wandb.init` gets `options` as well.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(self, **options: Any) -> None:
        self._wandb = require("wandb")
        self._options = options
        self._run: Any = None

    def start(self, config: RunConfig, folder: Path) -> None:
        """Begin a run, or continue the one of this folder, with every setting as its config."""
        options: dict[str, Any] = {"project": "seqel", "name": folder.name} | self._options
        self._run = self._wandb.init(
            id=_run_id(folder), resume="allow", dir=str(folder), config=dataclasses.asdict(config), **options
        )
        # an axis of our own: wandb's refuses records before the last one, which a resumed run writes again
        self._run.define_metric("count")
        self._run.define_metric("*", step_metric="count")

    def log(self, record: Record) -> None:
        """Log every number of the record."""
        if self._run is not None:
            self._run.log({"count": record.count, **scalars(record)})

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Write the figures at the end, and have everything sent."""
        if self._run is None:
            return
        best = (summary or {}).get("best")
        if best is not None:
            self._run.summary.update(
                {"best/count": best["steps"] or best["updates"], "best/mean": best["validation"]["mean"]}
            )
        self._run.finish(exit_code=0 if summary is not None else 1)
        self._run = None


def _run_id(folder: Path) -> str:
    """The id that the folder's run has there; a new one where it has none."""
    try:
        known = (folder / ID).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        known = ""
    if re.fullmatch(r"[a-z0-9]{8,64}", known):
        return known
    made = secrets.token_hex(8)
    atomic_write(folder / ID, made + "\n")
    return made
