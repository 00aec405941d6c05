"""The novelty head: how many observations that are new in the episode each action leads to."""

from __future__ import annotations

from typing import ClassVar

from seqel.networks.heads.base import ActionHead

__all__ = ["NoveltyHead"]


class NoveltyHead(ActionHead):
    """The discounted sum of novelty after each action (`losses/terms/novelty.py`), in observations."""

    unit: ClassVar[float] = 10.0  # so that usual values are reached with weights of usual size
