"""Attention: the mean weight that all heads of all layers give to a step. See also `seqel.explanation.attention`."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.explanation.attention import weights_of
from seqel.explanation.methods.base import Method
from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["METHOD", "mean_attention"]


def mean_attention(reading: Reading, explained: Explained) -> Tensor:
    """Return the attention weights, averaged over layers and heads: (S, T+1); rows sum to 1.

    The result does not depend on the question. Attention weights do not show what a step's information is used for (Jain &
    Wallace 2019, arXiv:1902.10186).
    """
    mean = weights_of(reading.agent, reading.window).mean(dim=(0, 1))
    return mean[torch.tensor(explained.steps, device=mean.device)]


METHOD = Method(
    "attention",
    "the mean attention weight of all layers and heads",
    mean_attention,
    signed=False,
    needs_attention=True,
    order=5,
)
