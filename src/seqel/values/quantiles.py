"""Values represented by quantiles of the return (QR-DQN).

A quantile z of the next value becomes offset + factor z. For one step, the offset is the reward and the factor is the
discount; for n steps, `n_step` composes them. All are in return scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.values.base import ErrorName, Target, ValueKind
from seqel.values.scalar import huber

__all__ = ["Quantiles"]


@dataclass(frozen=True, slots=True)
class Quantiles(ValueKind):
    """Quantiles at (i + 1/2) / bins (QR-DQN, Dabney et al. 2017, arXiv:1710.10044).

    `delta` (the paper's kappa), in return scales: up to this error the loss is quadratic.
    Differs: the loss is the mean over the target's and over the predicted quantiles, where the paper sums over the
    predicted ones, so that it does not grow with `bins`.

    Raises ConfigError unless bins >= 1 and delta > 0.
    """

    linear: ClassVar[bool] = True
    needs_next_outputs: ClassVar[bool] = True

    bins: int
    delta: float = 1.0

    def __post_init__(self) -> None:
        if self.bins < 1 or not self.delta > 0.0:
            raise ConfigError(f"Quantiles: expected bins >= 1 and delta > 0; got {self.bins} and {self.delta}")

    @property
    def outputs(self) -> int:
        """The number of quantiles."""
        return self.bins

    def expectation(self, outputs: Tensor) -> Tensor:
        """Return the mean of the quantiles: (..., bins) -> (...)."""
        return outputs.mean(-1)

    def loss(self, q: Tensor, outputs: Tensor | None, target: Target, error: ErrorName = "squared") -> Tensor:
        """See `quantile_huber`."""
        assert outputs is not None and target.next_outputs is not None
        assert target.offset is not None and target.factor is not None
        return self.quantile_huber(outputs, target.next_outputs, target.offset, target.factor)

    def quantile_huber(self, outputs: Tensor, following: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        """Return the quantile Huber loss.  outputs, following (..., bins) quantiles, offset and factor (...) -> (...)."""
        moved = (offset[..., None] + factor[..., None] * following).detach()
        error = moved[..., None, :] - outputs[..., :, None]  # (..., predicted, target's)
        level = (torch.arange(self.bins, device=outputs.device, dtype=outputs.dtype) + 0.5) / self.bins
        weight = (level[:, None] - (error.detach() < 0).to(outputs.dtype)).abs()
        return (weight * huber(error, self.delta) / self.delta).mean(dim=(-1, -2))
