"""The loss of distillation: how far an agent's decisions and values are from those of another agent after the same history.

    KL(pi || pi')  +  mean over actions of ((q - q') / scale)^2

pi is the decision policy: the softmax of the scores that the greedy action maximises. Where values decide, these are the
Q-values in units of the return scale, divided by a temperature (Rusu et al. 2015, arXiv:1511.06295, policy distillation).
Differs: the temperature is not fixed but the median difference between the two best actions, so that it fits every scale of
advantages; and the values are distilled too, so that they can still be explained, compared and trained further. Where a
policy head decides, pi is its softmax. A policy head that does not decide, and a state value, have terms of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.td import masked_mean, mean_over_dimensions
from seqel.losses.terms.distillation import distillation_loss
from seqel.networks.qnetwork import QNetwork
from seqel.types import QOutput, SequenceBatch

__all__ = ["allowed_actions", "decision_logits", "distillation", "gap_temperature"]

LEAST, MOST = 1e-3, 1.0  # return scales: the range of the temperature


def allowed_actions(network: QNetwork, batch: SequenceBatch) -> Tensor | None:
    """Return which actions a policy may choose, as (B, T+1, M, A) or a shape that broadcasts to it; None: all."""
    mask, available = batch.allowed, network.available
    if mask is None or available is None:
        return available if mask is None else mask
    return mask & available


def decision_logits(network: QNetwork, out: QOutput, temperature: float) -> Tensor:
    """Return logits of the decision policy, without masks: (..., M, A). `temperature`: in return scales."""
    config = network.config
    if config.policy_head == "greedy":
        assert out.policy_logits is not None
        value = config.value_weight * out.q / network.head.scale if config.value_weight else 0.0
        return out.policy_logits + value
    return out.q / (network.head.scale * temperature)


@torch.no_grad()
def gap_temperature(network: QNetwork, batch: SequenceBatch) -> float:
    """Return the median difference between the two best actions' values in return scales, from 0.001 to 1.

    1 where a policy head decides, or where there is one action.
    """
    if network.config.policy_head == "greedy" or network.action_spec.actions == 1:
        return 1.0
    q = network(batch).q / network.head.scale
    mask = allowed_actions(network, batch)
    if mask is not None:
        q = q.masked_fill(~mask, -torch.inf)
    best = q[:, :-1][batch.loss_mask].topk(2, dim=-1).values  # (N, M, 2)
    gap = best[..., 0] - best[..., 1]
    gap = gap[torch.isfinite(gap)]  # not where a single action is allowed
    return float(gap.median().clamp(LEAST, MOST)) if len(gap) else MOST


def distillation(
    student: QNetwork, found: QOutput, teacher: QNetwork, wanted: QOutput, batch: SequenceBatch, temperature: float
) -> Tensor:
    """Return the mean loss over the steps in `loss_mask`, a number; outputs of (B, T+1) steps each."""
    mask, scale = allowed_actions(teacher, batch), teacher.head.scale
    loss = _nats(
        decision_logits(student, found, temperature), decision_logits(teacher, wanted, temperature), batch, mask
    )
    if teacher.config.policy_head in ("auxiliary", "constraint"):
        assert found.policy_logits is not None
        assert wanted.policy_logits is not None
        loss = loss + _nats(found.policy_logits, wanted.policy_logits, batch, mask)
    pairs = [
        (found.q, wanted.q)
        if found.per_critic is None or wanted.per_critic is None
        else (found.per_critic, wanted.per_critic)
    ]
    for one, other in pairs:
        square = ((one - other) / scale).square()  # (B, T+1, M, A), or (B, T+1, K, M, A) of K critics
        where = torch.ones_like(square, dtype=torch.bool)
        if mask is not None:
            where = where & (mask if square.ndim == 4 else mask.unsqueeze(-3))
        mean = torch.where(where, square, 0.0).sum(dim=-1) / where.sum(dim=-1).clamp(min=1)
        loss = loss + mean.flatten(2).mean(dim=-1)[:, :-1]
    if found.value is not None and wanted.value is not None:
        loss = loss + ((found.value - wanted.value) / scale).square()[:, :-1]
    return masked_mean(loss, batch.loss_mask)


def _nats(found: Tensor, wanted: Tensor, batch: SequenceBatch, mask: Tensor | None) -> Tensor:
    """Return the divergence at each transition's step, the mean over dimensions, (B, T)."""
    return mean_over_dimensions(distillation_loss(found, wanted, mask))[:, :-1]
