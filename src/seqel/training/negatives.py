"""Sampled negatives for large action sets: score the action taken and a few others at each step, instead of all."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqel.types import SequenceBatch

__all__ = ["with_negatives"]


def with_negatives(batch: SequenceBatch, actions: int, count: int) -> tuple[SequenceBatch, SequenceBatch]:
    """Return the batch for the network to score, and the batch for the losses to read.

    Column 0 of the candidates (B, T+1, 1 + count) is the action taken, if there was one. The others are sampled uniformly:
    the same ones for every step if all actions are allowed, otherwise separately per step among the allowed ones. In the
    second batch, an action is its column number (0), and the mask (B, T+1, 1 + count) excludes sampled actions that equal
    the action taken. `log_count` is the log of the number of actions that a column stands for; it makes the normalising
    sums of the CQL penalty and the cloning loss right on average. A maximum over the candidates is at most that over all.

    Samples from torch's generator. Needs one action dimension, and no policy to evaluate in the batch.
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
