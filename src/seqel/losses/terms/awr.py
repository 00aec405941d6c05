"""Advantage-weighted regression: weights for the cloning term (`cloning.py`) by the advantage of each recorded action."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["advantage_weight"]

HEAVIEST = 20.0  # times the weight of an average action, so that one step cannot decide an update


def advantage_weight(advantage: Tensor, beta: float, learn: Tensor) -> Tensor:
    """Return exp(beta advantage / mean |advantage|), at most HEAVIEST: the weight of a recorded action in cloning.

    advantage (B, T, ...); learn (B, T) bool selects the steps that the mean is taken over. The result carries no gradient.
    Source: Peng et al. 2019, arXiv:1910.00177 (advantage-weighted regression), as used by IQL. Differs: the advantage is
    divided by its mean absolute size, so that beta means the same whatever the rewards are.
    """
    advantage = advantage.detach()
    counts = learn.reshape(learn.shape + (1,) * (advantage.ndim - learn.ndim))
    size = torch.where(counts, advantage.abs(), 0.0).sum()
    mean = size / (learn.sum() * (advantage.numel() // learn.numel())).clamp(min=1)
    return (beta * advantage / mean.clamp(min=1e-6)).exp().clamp(max=HEAVIEST)
