"""Gradient times input: the slope of the explained score at a token, times the token's difference from the mean token."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.explanation.methods.base import Method, decision_rows, empty
from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["METHOD", "gradient_times_input", "weighted_slopes"]


def gradient_times_input(reading: Reading, explained: Explained) -> Tensor:
    """Return the slope times the token's difference to the mean token, summed over its elements: (S, T+1).

    Source: Shrikumar et al. 2016, arXiv:1605.01713. Differs: the input is a token, less the mean token, as in occlusion.
    """
    return weighted_slopes(reading, explained, ((1.0, 1.0),))


def weighted_slopes(reading: Reading, explained: Explained, points: tuple[tuple[float, float], ...]) -> Tensor:
    """Return slopes times the tokens' differences to the mean token, (S, T+1).

    points: (position, weight); the slope is the weighted sum of those at mean + position (token - mean).
    """
    found = empty(reading, explained)
    whole, mean = reading.tokens.detach().clone(), reading.mean_token.detach().clone()
    parameters = [one for one in reading.network.parameters() if one.requires_grad]
    for parameter in parameters:  # slopes of weights are not needed
        parameter.requires_grad_(False)
    try:
        for decisions, begin, end in reading.groups(explained.steps):
            rows = decision_rows(explained, decisions)
            apart = whole[begin:end] - mean
            at = torch.tensor(decisions, device=whole.device) - begin
            slope = torch.zeros(len(decisions), end - begin, whole.shape[1], device=whole.device)
            for position, weight in points:
                tokens = (mean + position * apart).repeat(len(decisions), 1, 1).requires_grad_()
                with torch.enable_grad():
                    h = reading.states(tokens, begin)[torch.arange(len(decisions), device=whole.device), at]
                    total = explained.values(reading, h, rows).sum()
                    slope += weight * torch.autograd.grad(total, tokens)[0]
            found[rows, begin:end] = (slope * apart).sum(dim=-1)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
    return found


METHOD = Method(
    "gradient x input",
    "the slope of the explained score at the step's token, times how much the token differs from the mean token",
    gradient_times_input,
    signed=True,
    order=3,
)
