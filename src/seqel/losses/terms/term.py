"""What a term of the objective is: a loss beside that of Q-learning, and what is reported of it.

Recorded data cannot be asked what another action would have earned. Each term keeps the learner near what was recorded in its
own way. A term is a file in this folder that ends with its `Term`, and a line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.types import QOutput, SequenceBatch

__all__ = ["Term", "TermInput"]


@dataclass(frozen=True, slots=True)
class TermInput:
    """What a term may look at; the first T of T+1 steps are those that are learnt from."""

    batch: SequenceBatch
    online: QOutput
    target: QOutput
    scale: Tensor  # () the unit of values
    config: ObjectiveConfig
    mask: Tensor | None  # (B, T, M, A), or 1 on an axis, bool: the allowed actions
    log_count: Tensor | None  # (B, T, 1, C)  log of how many actions each candidate stands for
    # (B, T)  of the recorded action over its state by the target network's values, in return scales; None: no state value
    advantage: Tensor | None


@dataclass(frozen=True, slots=True)
class Term:
    """One term: how it is switched on, what it needs, what it gives and what is reported."""

    name: str  # of the metric
    unit: str  # of the metric
    meaning: str  # of the metric, for the documentation
    setting: str  # of `ObjectiveConfig`: the term is there where this is above 0
    head: Literal["policy", "state_value"] | None  # that it needs beside the values
    loss: Callable[[TermInput], tuple[Tensor, Tensor]]  # -> what is learnt and what is reported, (B, T) each
    weighted: bool = True  # the setting is also the loss's weight; otherwise that is 1

    def active(self, config: ObjectiveConfig) -> bool:
        """Whether the objective has this term."""
        value: float = getattr(config, self.setting)
        return value > 0.0

    def weight(self, config: ObjectiveConfig) -> float:
        """What its loss is multiplied by."""
        return float(getattr(config, self.setting)) if self.weighted else 1.0
