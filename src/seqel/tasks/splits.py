"""The three splits of the sentences that tasks use."""

from __future__ import annotations

from typing import Any, Literal

from seqel.errors import ConfigError

__all__ = ["SPLITS", "Split", "require_split"]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def require_split(split: Any) -> None:
    """Raise ConfigError unless an argument names a split."""
    if split not in SPLITS:
        raise ConfigError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
