"""What every kind of value offers: what the outputs of a head mean, and how far they are from a target.

    outputs              numbers per action that the head has to give
    expectation(x)       outputs (..., n) -> the value (...), in return scales
    loss(q, x, target)   the error of each step

`values/registry.py` makes one by its name in the network's config. No other file asks which kind it is: it asks for one of
the properties below.
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
    """What the values of some steps are pulled to; no gradient.

    The last two are there where `ValueKind.needs_next_outputs`: outputs of the target network some steps later, and the map
    z -> offset + factor z, in return scales, that takes a value from there to here.
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
    """The value is linear in the outputs. Scaling the last layer then changes the unit and no value; and the mean of the
    outputs over action dimensions stands for the mean of the values, which more than one dimension needs."""

    needs_next_outputs: ClassVar[bool] = False
    """Learns from the outputs of one later step instead of from a return: there are no lambda-returns then, and nothing
    but the best action is bootstrapped from (no state value, no policy head as a constraint, no evaluated policy)."""

    divide_by_variance: ClassVar[bool] = False
    """Its loss grows with the square of its targets, so that the learner divides it by their running variance."""

    keeps_outputs: ClassVar[bool] = True
    """The loss needs the outputs themselves, not the value alone."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs per action."""

    @abstractmethod
    def expectation(self, outputs: Tensor) -> Tensor:
        """Outputs (..., n) -> the value (...), in return scales."""

    @abstractmethod
    def loss(self, q: Tensor, outputs: Tensor | None, target: Target, error: ErrorName = "squared") -> Tensor:
        """The error of each step.  q (...) the value in units of reward, outputs (..., n) -> (...).

        `outputs` may be None where not `keeps_outputs`; `error` chooses the function for numbers, the other kinds have
        their own.
        """
