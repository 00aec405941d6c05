"""Values represented by probabilities of fixed atoms of the return (C51).

An atom z of the next value becomes offset + factor z. For one step, the offset is the reward and the factor is the discount;
for n steps, `n_step` composes them. All are in return scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.values.base import ErrorName, Target, ValueKind

__all__ = ["Categorical"]


@dataclass(frozen=True, slots=True)
class Categorical(ValueKind):
    """Probabilities of `bins` atoms, evenly spaced from `low` to `high` (C51, Bellemare et al. 2017, arXiv:1707.06887).

    Raises ConfigError unless bins >= 2 and low < high.
    """

    linear: ClassVar[bool] = False
    needs_next_outputs: ClassVar[bool] = True

    bins: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.bins < 2 or not self.low < self.high:
            raise ConfigError(
                f"Categorical: expected bins >= 2 and low < high; got {self.bins}, {self.low}, {self.high}"
            )

    @property
    def outputs(self) -> int:
        """The number of atoms."""
        return self.bins

    def support(self, like: Tensor) -> Tensor:
        """Return the values of the atoms, (bins,), with the device and dtype of `like`."""
        return torch.linspace(self.low, self.high, self.bins, device=like.device, dtype=like.dtype)

    def expectation(self, outputs: Tensor) -> Tensor:
        """Return the mean of the distribution: logits (..., bins) -> (...)."""
        return (torch.softmax(outputs, dim=-1) * self.support(outputs)).sum(-1)

    def project(self, value: Tensor, probability: Tensor) -> Tensor:
        """Project probability mass at any values onto the atoms.  value, probability (..., N) -> (..., bins).

        The mass of a value is shared between its two neighbouring atoms; values beyond the outer atoms are clamped to them.
        """
        spacing = (self.high - self.low) / (self.bins - 1)
        position = (value.clamp(self.low, self.high) - self.low) / spacing
        below = position.floor().clamp(max=self.bins - 2)
        share = position - below
        at = below.long()
        out = torch.zeros(*value.shape[:-1], self.bins, device=value.device, dtype=value.dtype)
        out.scatter_add_(-1, at, probability * (1.0 - share))
        return out.scatter_add_(-1, at + 1, probability * share)

    def loss(self, q: Tensor, outputs: Tensor | None, target: Target, error: ErrorName = "squared") -> Tensor:
        """See `cross_entropy`."""
        assert outputs is not None and target.next_outputs is not None
        assert target.offset is not None and target.factor is not None
        return self.cross_entropy(outputs, target.next_outputs, target.offset, target.factor)

    def cross_entropy(self, outputs: Tensor, following: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        """Return the cross-entropy to the projected target.

        outputs, following (..., bins) logits, offset and factor (...) -> (...).
        """
        with torch.no_grad():
            moved = offset[..., None] + factor[..., None] * self.support(following)
            wanted = self.project(moved, torch.softmax(following, dim=-1))
        return -(wanted * torch.log_softmax(outputs, dim=-1)).sum(-1)
