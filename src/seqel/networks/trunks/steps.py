"""Numbers of steps within their episodes, and where the steps of a window belong in a ring of the last `context` ones."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ring_index", "step_numbers"]


def step_numbers(first: Tensor, start: Tensor) -> Tensor:
    """Return the number of each step in its own episode.  first (B, T) bool, start (B,) -> (B, T) int64."""
    steps = torch.arange(first.shape[1], device=first.device)
    since = torch.where(first, steps, -start[:, None]).cummax(dim=1).values  # index of the episode's first step
    return torch.where(first.cumsum(dim=1) > 0, steps - since, start[:, None] + steps)


def ring_index(numbers: Tensor, start: Tensor, lengths: Tensor, context: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a ring holds after the first `lengths` (B,) steps of each window, of the last episode there.

    numbers (B, T): `step_numbers` -> position (B,), the number of the next step; index (B, context), the step of the window
    that is in each slot; held (B, context) bool, whether there is one. Slot s holds the latest step whose number is s modulo
    `context`.
    """
    last = (lengths - 1).clamp(min=0)[:, None]
    position = torch.where(lengths > 0, numbers.gather(1, last)[:, 0] + 1, start)
    begin = (lengths - position)[:, None]  # where the last episode's step 0 is, or would be
    slots = torch.arange(context, device=numbers.device)
    index = position[:, None] - 1 - (position[:, None] - 1 - slots) % context + begin
    return position, index.clamp(min=0), (index >= 0) & (index >= begin)
