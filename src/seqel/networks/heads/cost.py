"""The cost head: the discounted cost that each action leads to, and the multiplier that weighs it against reward."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.base import ActionHead
from seqel.spaces import ActionSpec

__all__ = ["CostHead"]


class CostHead(ActionHead):
    """The discounted sum of costs after each action (`losses/terms/cost.py`), in the environment's unit of cost.

    `multiplier` () is the Lagrange multiplier, in units of reward per unit of cost: greedy choices maximise the value minus
    the multiplier times the cost. It is saved with the weights, and is not trained by gradient descent.
    """

    multiplier: Tensor

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__(action, config)
        self.register_buffer("multiplier", torch.zeros(()))

    def penalty(self, cost: Tensor) -> Tensor:
        """Return the cost in units of reward; the shape of `cost`."""
        return self.multiplier * cost
