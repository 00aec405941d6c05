"""A moving average of the trained network's weights, which is validated and kept.

Single updates of Q-learning change the greedy policy back and forth; the average is more stable (Polyak & Juditsky 1992;
Izmailov et al. 2018, arXiv:1803.05407). It is separate from the target network, which should follow faster.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from seqel.networks.qnetwork import QNetwork

__all__ = ["WeightAverage"]

YOUNG = 10  # while it is shorter, the average covers about the last tenth of the updates


class WeightAverage:
    """An exponential moving average of a network's weights, in a network of its own.

    At its k-th update it moves by the fraction max(rate, 1 / (1 + k / 10)), so that it forgets the initial weights at once
    and covers about the last tenth of the updates until it reaches 1 / rate of them. A rate of 1 gives the latest weights.
    """

    def __init__(self, source: QNetwork, rate: float) -> None:
        self.source, self.rate = source, rate
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self._latest: list[Tensor] = list(source.parameters())
        self._average: list[Tensor] = list(self.network.parameters())

    def restart(self) -> None:
        """Copy everything from the source, statistics and unit included."""
        self.network.load_state_dict(self.source.state_dict())

    @torch.no_grad()
    def follow(self, updates: int) -> None:
        """Move towards the source's weights; `updates`: how many the source has had, including this one (at least 1)."""
        share = max(self.rate, 1.0 / (1.0 + (updates - 1) / YOUNG))
        torch._foreach_lerp_(self._average, self._latest, share)
