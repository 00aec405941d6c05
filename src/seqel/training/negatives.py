"""Large sets of actions: score the action taken and some others a step, not all of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqel.types import SequenceBatch

__all__ = ["with_negatives"]


def with_negatives(batch: SequenceBatch, actions: int, count: int) -> tuple[SequenceBatch, SequenceBatch]:
    """The batch as the network scores it, and as the losses judge that.

    Column 0 of the candidates (B, T+1, 1 + count) is the action taken, where one was; the others are drawn evenly: the
    same ones for every step where all actions are allowed, each step's own among those that its mask allows. In the
    second batch an action is the number of its column (0), and the mask (B, T+1, 1 + count) leaves out what was drawn
    and is the action taken. `log_count` says how many actions a column stands for, which makes the normalising sums of
    `conservative` and `imitation` right on average. A maximum over the candidates is at most that over all.

    Draws from torch's generator. One action dimension, and no evaluated policy.
    """
    assert batch.policy is None and batch.action.shape[-1] == 1
    taken = pad(batch.action[..., 0], (0, 1))  # (B, T+1)
    acted = pad(batch.valid, (0, 1))
    device = taken.device
    count = min(count, actions)
    allowed_here = None if batch.allowed is None else batch.allowed[:, :, 0]  # (B, T+1, A)
    if allowed_here is None:
        others = torch.randperm(actions, device=device)[:count].expand(*taken.shape, count)
        allowed = torch.ones_like(others, dtype=torch.bool)
        total: Tensor | int = actions
    else:
        order = torch.rand(allowed_here.shape, device=device).masked_fill_(~allowed_here, -1.0)
        chance, others = order.topk(count, dim=-1)
        allowed = chance >= 0.0
        total = allowed_here.sum(dim=-1)
    allowed = allowed & ~((others == taken[..., None]) & acted[..., None])
    stands_for = (total - acted.long()) / allowed.sum(dim=-1).clamp(min=1)  # (B, T+1)
    columns = stands_for.clamp(min=1.0).log()[..., None].expand_as(others)
    scored = replace(
        batch,
        candidates=torch.cat([taken[..., None], others], dim=-1),
        log_count=pad(columns, (1, 0)),
    )
    mask = torch.cat([acted[..., None], allowed], dim=-1)
    return scored, replace(scored, action=torch.zeros_like(batch.action), action_mask=mask)
