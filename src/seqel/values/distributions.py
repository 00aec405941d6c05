"""Values learnt as distributions of the return: on fixed atoms (C51) or as quantiles.

A head gives `bins` outputs an action. Both classes know what those outputs mean (`expectation`) and how far they are from
the distribution that the target network bootstraps to (`loss`): every atom z of the next value becomes
offset + factor z, where one step has offset r and factor gamma, n steps what `n_step` composes. All in units of the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.losses.td import huber

__all__ = ["Categorical", "Quantiles"]


@dataclass(frozen=True, slots=True)
class Categorical:
    """Probabilities of `bins` atoms, evenly spaced from `low` to `high` (C51, Bellemare et al. 2017, arXiv:1707.06887).

    Raises ConfigError unless bins >= 2 and low < high.
    """

    bins: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.bins < 2 or not self.low < self.high:
            raise ConfigError(
                f"Categorical: expected bins >= 2 and low < high; came {self.bins}, {self.low}, {self.high}"
            )

    def atoms(self, like: Tensor) -> Tensor:
        """The values that the outputs are probabilities of, (bins,)."""
        return torch.linspace(self.low, self.high, self.bins, device=like.device, dtype=like.dtype)

    def expectation(self, outputs: Tensor) -> Tensor:
        """Logits (..., bins) -> the mean (...)."""
        return (torch.softmax(outputs, dim=-1) * self.atoms(outputs)).sum(-1)

    def project(self, value: Tensor, probability: Tensor) -> Tensor:
        """Mass at any values -> mass on the atoms.  (..., N) twice -> (..., bins).

        Each value's is shared by its two neighbours; what lies beyond the outer atoms is clamped to them.
        """
        spacing = (self.high - self.low) / (self.bins - 1)
        position = (value.clamp(self.low, self.high) - self.low) / spacing
        below = position.floor().clamp(max=self.bins - 2)
        share = position - below
        at = below.long()
        out = torch.zeros(*value.shape[:-1], self.bins, device=value.device, dtype=value.dtype)
        out.scatter_add_(-1, at, probability * (1.0 - share))
        return out.scatter_add_(-1, at + 1, probability * share)

    def loss(self, outputs: Tensor, following: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        """Cross-entropy to the projected target.  outputs, following (..., bins) logits, offset and factor (...) -> (...)."""
        with torch.no_grad():
            moved = offset[..., None] + factor[..., None] * self.atoms(following)
            wanted = self.project(moved, torch.softmax(following, dim=-1))
        return -(wanted * torch.log_softmax(outputs, dim=-1)).sum(-1)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles at (i + 1/2) / bins (QR-DQN, Dabney et al. 2017, arXiv:1710.10044).

    `delta`: up to this error the loss is quadratic (the paper's kappa), in units of the scale.
    Differs: the mean over the target's quantiles and over the own ones, where the paper sums over its own: the loss
    then does not grow with `bins`.

    Raises ConfigError unless bins >= 1 and delta > 0.
    """

    bins: int
    delta: float = 1.0

    def __post_init__(self) -> None:
        if self.bins < 1 or not self.delta > 0.0:
            raise ConfigError(f"Quantiles: expected bins >= 1 and delta > 0; came {self.bins} and {self.delta}")

    def expectation(self, outputs: Tensor) -> Tensor:
        """Quantiles (..., bins) -> the mean (...)."""
        return outputs.mean(-1)

    def loss(self, outputs: Tensor, following: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        """Quantile Huber loss.  outputs, following (..., bins) quantiles, offset and factor (...) -> (...)."""
        moved = (offset[..., None] + factor[..., None] * following).detach()
        error = moved[..., None, :] - outputs[..., :, None]  # (..., own, target's)
        level = (torch.arange(self.bins, device=outputs.device, dtype=outputs.dtype) + 0.5) / self.bins
        weight = (level[:, None] - (error.detach() < 0).to(outputs.dtype)).abs()
        return (weight * huber(error, self.delta) / self.delta).mean(dim=(-1, -2))
