"""Attention rollout: attention followed through the layers, because layers pass on what the layers below have read."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.explanation.attention import weights_of
from seqel.explanation.methods.base import Method
from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["METHOD", "roll_out", "rollout"]


def rollout(reading: Reading, explained: Explained) -> Tensor:
    """Return the share of each step's token in each decision's state, by attention alone: (S, T+1); rows sum to 1.

    Source: Abnar & Zuidema 2020, arXiv:2005.00928. The question plays no part.
    """
    found = roll_out(weights_of(reading.agent, reading.window))
    return found[torch.tensor(explained.steps, device=found.device)]


def roll_out(weights: Tensor) -> Tensor:
    """Multiply the layers' weights: (layers, H, T, T) -> (T, T). Each is the mean over heads, half of it the step itself,
    for the residual connection."""
    mean = weights.mean(dim=1)
    own = torch.eye(mean.shape[-1], device=mean.device, dtype=mean.dtype)
    product = own
    for layer in mean:
        product = (0.5 * layer + 0.5 * own) @ product
    return product


METHOD = Method(
    "attention rollout",
    "the share of the step's token that attention alone carries to the decision, through all layers",
    rollout,
    signed=False,
    needs_attention=True,
    order=2,
)
