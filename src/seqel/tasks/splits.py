"""The three splits of the sentences that tasks use."""

from __future__ import annotations

from typing import Literal

__all__ = ["SPLITS", "Split"]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
