"""The loss of every step, from one batch and the outputs of two networks. Pure functions on tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.losses.targets import allowed_actions, next_outputs, pick, q_targets, without_last
from seqel.losses.td import action_values
from seqel.losses.terms.registry import active_terms
from seqel.losses.terms.term import Term, TermInput
from seqel.types import QOutput, SequenceBatch
from seqel.values.base import Target, ValueKind
from seqel.values.scalar import Scalar

__all__ = ["StepLoss", "recorded_advantage", "step_loss", "term_losses"]

SCALAR = Scalar()


@dataclass(frozen=True, slots=True)
class StepLoss:
    """The loss of each step and the numbers to report; (B, T) each, meaningful where `batch.loss_mask` is True.

    If several policies are evaluated, the values are means over them.
    """

    loss: Tensor  # squared error: (return scale)^2; quantiles: return scales; classification: nats
    q: Tensor  # the value of the action taken, in units of reward
    target: Tensor  # its target, in units of reward
    extra: Tensor | None = None  # weighted sum of the other terms of the objective
    terms: dict[str, Tensor] = field(default_factory=dict)  # these terms without their weights, for the metrics


def step_loss(
    batch: SequenceBatch,
    online: QOutput,
    target: QOutput,
    scale: Tensor,
    config: ObjectiveConfig,
    values: ValueKind = SCALAR,
    support: float = 0.0,
    reference: QOutput | None = None,
    moved: QOutput | None = None,
    prefer: Tensor | None = None,
) -> StepLoss:
    """Return the loss of every transition.

    `scale` () is the unit in which errors are measured (the head's). `values` is the kind of value that the head's outputs
    represent. `support` is the threshold of the policy head's constraint, 0 for none. `reference`: outputs of the network
    that training started from; `moved`: outputs of the online network on perturbed observations; both only if a term needs
    them. With several action dimensions there is one error per step, that of the joint action's value. `prefer`
    (B, T+1, M, A): the scores that choose the next action, if not the values (`QNetwork.preferred`).
    """
    chooser = online if config.double else target
    if prefer is None and chooser.penalty is not None:
        prefer = chooser.preference.detach()
    goal = q_targets(batch, online, target, config, support, prefer)  # (B, T, K)
    action = torch.zeros_like(batch.action) if online.taken else batch.action
    critics = online.per_critic is not None  # each has a loss of its own; K counts them
    every, every_logits = (online.per_critic, online.per_critic_logits) if critics else (online.q, online.logits)
    assert every is not None
    q = action_values(every[:, :-1], action)  # (B, T, K)
    goal = goal.expand_as(q)
    outputs = None
    if values.keeps_outputs:
        assert every_logits is not None
        outputs = pick(every_logits[:, :-1], action)  # (B, T, K, n)
    aim = Target(goal, scale)
    if values.needs_next_outputs:
        following, offset, factor = next_outputs(batch, online, target, config, prefer)
        aim = Target(goal, scale, following, (offset / scale)[..., None], factor[..., None])
    loss = values.loss(q, outputs, aim, config.td_loss)
    if config.td_weight == 0.0:
        loss = loss.detach()  # no backward pass through the Q head
    found = term_losses(batch, online, target, scale, config, reference, moved)
    extra = sum((term.weight(config) * learned for term, learned, _ in found), torch.zeros(())) if found else None
    return StepLoss(
        config.td_weight * loss.mean(dim=-1),
        (q.amin(dim=-1) if critics else q.mean(dim=-1)).detach(),
        goal.mean(dim=-1),
        extra,
        {term.name: reported for term, _, reported in found},
    )


def term_losses(
    batch: SequenceBatch,
    online: QOutput,
    target: QOutput,
    scale: Tensor,
    config: ObjectiveConfig,
    reference: QOutput | None = None,
    moved: QOutput | None = None,
) -> list[tuple[Term, Tensor, Tensor]]:
    """Return the terms that the config asks for, each with its loss and the reported number, (B, T) each.

    Terms that need the outputs of a reference, or on moved observations, are left out without them.
    """
    terms = [
        term
        for term in active_terms(config)
        if (reference is not None or not term.reads_reference) and (moved is not None or not term.reads_moved)
    ]
    if not terms:
        return []
    mask = without_last(allowed_actions(batch, online))
    count = None if batch.log_count is None else batch.log_count[:, :-1, None]
    advantage = recorded_advantage(batch, online, target, scale)
    step = TermInput(batch, online, target, scale, config, mask, count, advantage, reference, moved)
    return [(term, *term.loss(step)) for term in terms]


def recorded_advantage(batch: SequenceBatch, online: QOutput, target: QOutput, scale: Tensor) -> Tensor | None:
    """Return the target network's Q of the recorded action minus V, in return scales, (B, T); None if there is no V."""
    if online.value is None:
        return None
    action = torch.zeros_like(batch.action) if target.taken else batch.action
    return (action_values(target.q.detach()[:, :-1], action)[..., 0] - online.value[:, :-1]) / scale
