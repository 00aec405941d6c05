"""Behaviour cloning: predict the recorded action; with `awr_beta` above 0, better actions get more weight."""

from __future__ import annotations

from torch import Tensor

from seqel.losses.td import gather_actions, mean_over_dimensions
from seqel.losses.terms.awr import advantage_weight
from seqel.losses.terms.term import Term, TermInput
from seqel.values.policy import log_policy

__all__ = ["CLONING", "cloning_loss"]


def cloning_loss(logits: Tensor, action: Tensor, mask: Tensor | None = None, log_count: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of the recorded action, in nats: behaviour cloning, the supervised part of SQN.  -> (..., M).

    Combining it with Q-learning: Xin et al. 2020, arXiv:2006.05779 (SQN). log_count is as in `cql_penalty`; it gives the
    sampled softmax of Bengio and Senecal 2008 for negatives that are drawn uniformly.
    """
    return -gather_actions(log_policy(logits if log_count is None else logits + log_count, mask), action)


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.online.policy_logits is not None
    logits = step.online.policy_logits[:, :-1]
    nats = mean_over_dimensions(cloning_loss(logits, step.batch.action, step.mask, step.log_count))
    plain = nats.detach()
    if step.config.awr_beta > 0.0:  # the config then requires a state value
        assert step.advantage is not None
        nats = advantage_weight(step.advantage, step.config.awr_beta, step.batch.loss_mask) * nats
    return nats, plain


CLONING = Term(
    name="imitation",
    unit="nats",
    meaning="cross-entropy of the recorded action under the policy head",
    setting="cloning_weight",
    head="policy",
    loss=_loss,
)
