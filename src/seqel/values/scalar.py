"""Values represented by one number, with a squared or a Huber loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seqel.values.base import ErrorName, Target, ValueKind

__all__ = ["Scalar", "huber", "squared"]


def squared(error: Tensor) -> Tensor:
    """Return error^2 / 2, elementwise. Its gradient is the error itself, and `huber` equals it up to delta."""
    return 0.5 * error.square()


def huber(error: Tensor, delta: float = 1.0) -> Tensor:
    """Return error^2 / 2 up to |error| = delta, and delta (|error| - delta / 2) beyond, elementwise: gradient within +-delta.

    `delta` is in units of the error. Raises ValueError unless delta > 0.
    """
    if not delta > 0.0:
        raise ValueError(f"expected delta > 0; got {delta}")
    size = error.abs()
    near = size.clamp(max=delta)
    return 0.5 * near.square() + delta * (size - near)


@dataclass(frozen=True, slots=True)
class Scalar(ValueKind):
    """The value itself, in return scales."""

    linear: ClassVar[bool] = True
    divide_by_variance: ClassVar[bool] = True
    keeps_outputs: ClassVar[bool] = False

    @property
    def outputs(self) -> int:
        """1: the value itself."""
        return 1

    def expectation(self, outputs: Tensor) -> Tensor:
        """Return the value: (..., 1) -> (...)."""
        return outputs[..., 0]

    def loss(self, q: Tensor, outputs: Tensor | None, target: Target, error: ErrorName = "squared") -> Tensor:
        """Return the squared or Huber error, in return scales.  q (...) in units of reward -> (...)."""
        difference = (q - target.value) / target.scale
        return huber(difference) if error == "huber" else squared(difference)
