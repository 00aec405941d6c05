"""The interface of a kind of value: what the outputs of a head mean, and their loss against a target.

    outputs              number of outputs per action
    expectation(x)       outputs (..., n) -> the value (...), in return scales
    loss(q, x, target)   the error of each step

`values/registry.py` makes one by its name in the network's config. No other file tests which kind it is: they read the
properties below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

__all__ = ["ErrorName", "Target", "ValueKind"]

ErrorName = Literal["squared", "huber"]


@dataclass(frozen=True, slots=True)
class Target:
    """The training targets of some steps; no gradient.

    The last three are set if `ValueKind.needs_next_outputs`: the target network's outputs some steps later, and the map
    z -> offset + factor z, in return scales, that takes a value from there to this step.
    """

    value: Tensor  # (...) the return, in units of reward
    scale: Tensor  # () the unit of values: one return scale in units of reward
    next_outputs: Tensor | None = None  # (..., n)
    offset: Tensor | None = None  # (...)
    factor: Tensor | None = None  # (...)


class ValueKind(ABC):
    """A kind of value: a number, a classification or a distribution."""

    __slots__ = ()

    linear: ClassVar[bool]
    """The value is linear in the outputs. Scaling the last layer then changes the unit but no value, and the mean of the
    outputs over action dimensions gives the mean of the values, which more than one action dimension requires."""

    needs_next_outputs: ClassVar[bool] = False
    """The target is built from the outputs of one later step instead of from a return. This excludes lambda-returns, and
    bootstrapping from anything but the best action (no state value, no policy constraint, no evaluated policy)."""

    divide_by_variance: ClassVar[bool] = False
    """The loss grows with the square of the targets, so the learner divides it by their running variance."""

    keeps_outputs: ClassVar[bool] = True
    """The loss needs the outputs themselves, not only the value."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """The number of outputs per action."""

    @abstractmethod
    def expectation(self, outputs: Tensor) -> Tensor:
        """Return the value: outputs (..., n) -> (...), in return scales."""

    def support(self, like: Tensor) -> Tensor | None:
        """Return the values, in return scales, whose probabilities the outputs are logits of; None: they are no logits.

        -> (n,), with the device and dtype of `like`.
        """
        return None

    @abstractmethod
    def loss(self, q: Tensor, outputs: Tensor | None, target: Target, error: ErrorName = "squared") -> Tensor:
        """Return the error of each step.  q (...) is the value in units of reward, outputs (..., n) -> (...).

        `outputs` may be None unless `keeps_outputs`. `error` selects the loss of scalar values; the other kinds have their
        own.
        """
