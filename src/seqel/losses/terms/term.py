"""The interface of a term of the objective: a loss in addition to that of Q-learning, and the number reported for it.

Recorded data do not show what another action would have earned, so most terms keep the learner close to the recorded
actions, each in its own way. A term is a file in this folder that ends with its `Term`, and a line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.types import QOutput, SequenceBatch

__all__ = ["Term", "TermInput"]


@dataclass(frozen=True, slots=True)
class TermInput:
    """The inputs of a term; of the T+1 steps, the first T are trained."""

    batch: SequenceBatch
    online: QOutput
    target: QOutput
    scale: Tensor  # () the unit of values
    config: ObjectiveConfig
    mask: Tensor | None  # (B, T, M, A), or 1 on an axis, bool: the allowed actions
    log_count: Tensor | None  # (B, T, 1, C)  log of how many actions each candidate represents
    # (B, T)  advantage of the recorded action: target network's Q minus the state value, in return scales; None: no V
    advantage: Tensor | None
    reference: QOutput | None = None  # of the network that training started from; None: no term needs it
    moved: QOutput | None = None  # of the online network on observations that were moved; None: no term needs it


@dataclass(frozen=True, slots=True)
class Term:
    """One term: the setting that enables it, the head that it needs, its loss and its metric."""

    name: str  # of the metric
    unit: str  # of the metric
    meaning: str  # of the metric, for the documentation
    setting: str  # of `ObjectiveConfig`: the term is active if this is above `disabled_at`
    head: str | None  # that it needs in addition to the Q head: its name in `networks/heads/registry.py`
    loss: Callable[[TermInput], tuple[Tensor, Tensor]]  # -> the loss and the reported number, (B, T) each
    reads_values: bool = False  # the loss needs the Q head's values of all actions
    reads_target: bool = False  # its targets come from the target network, whatever those of the Q head need
    reads_reference: bool = False  # it compares with the network that training started from
    disabled_at: float = 0.0  # the setting must be above this number
    reads_moved: bool = (
        False  # it needs a second forward pass, on observations that were moved (`training/adversary.py`)
    )
    weighted: bool = True  # the setting is also the weight of the loss; otherwise the weight is 1

    def active(self, config: ObjectiveConfig) -> bool:
        """Return whether the objective has this term."""
        value: float = getattr(config, self.setting)
        return value > self.disabled_at

    def weight(self, config: ObjectiveConfig) -> float:
        """Return the weight of the term's loss."""
        return float(getattr(config, self.setting)) if self.weighted else 1.0
