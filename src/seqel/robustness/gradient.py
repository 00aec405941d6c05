"""Steps along the sign of a gradient within a ball of the maximum norm. Pure functions on tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Loss", "ascend"]

Loss = Callable[[dict[str, Tensor]], Tensor]  # () of inputs by name


def ascend(
    loss: Loss,
    inputs: dict[str, Tensor],
    radius: dict[str, Tensor],
    steps: int = 1,
    bounds: dict[str, tuple[Tensor, Tensor]] | None = None,
    start: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return inputs at which the loss is larger, each number within its radius of where it was.

    One step is the fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572): x + radius * sign(gradient). More are
    projected gradient ascent (Madry et al. 2018, arXiv:1706.06083), with steps of 2.5 / steps of the radius.

    Args:
        loss: a scalar function of the inputs, differentiable in them.
        inputs: floating-point tensors; they do not change.
        radius: of each number; broadcasts to its input.
        bounds: smallest and largest value of each number, which also broadcast; a number outside them stays as far outside.
        start: where the ascent starts, for instance at random within the radius; None: at the inputs.
    """
    size = 1.0 if steps == 1 else 2.5 / steps
    ends = {}
    for name, x in inputs.items():
        low, high = x - radius[name], x + radius[name]
        if bounds is not None and name in bounds:
            low = torch.maximum(low, torch.minimum(bounds[name][0], x))
            high = torch.minimum(high, torch.maximum(bounds[name][1], x))
        ends[name] = low, high
    now = {name: x.detach().clone() for name, x in (inputs if start is None else start).items()}
    for _ in range(steps):
        with torch.enable_grad():
            leaves = {name: x.requires_grad_() for name, x in now.items()}
            slopes: tuple[Tensor | None, ...] = torch.autograd.grad(
                loss(leaves), list(leaves.values()), allow_unused=True
            )
        now = {
            name: x.detach()
            if slope is None
            else torch.clamp(x.detach() + size * radius[name] * slope.sign(), *ends[name])
            for (name, x), slope in zip(leaves.items(), slopes, strict=True)
        }
    return now
