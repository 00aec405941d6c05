"""Behaviour cloning: predict the recorded action; with `awr_beta` above 0, better actions get more weight.

The loss is the cross-entropy of a softmax, or for large catalogues gBCE.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from seqel.losses.td import gather_actions, mean_over_dimensions
from seqel.losses.terms.awr import advantage_weight
from seqel.losses.terms.term import Term, TermInput
from seqel.values.policy import log_policy

__all__ = ["CLONING", "cloning_loss", "gbce_loss"]


def cloning_loss(logits: Tensor, action: Tensor, mask: Tensor | None = None, log_count: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of the recorded action, in nats: behaviour cloning, the supervised part of SQN.  -> (..., M).

    Combining it with Q-learning: Xin et al. 2020, arXiv:2006.05779 (SQN). log_count is as in `cql_penalty`; it gives the
    sampled softmax of Bengio and Senecal 2008 for negatives that are drawn uniformly.
    """
    return -gather_actions(log_policy(logits if log_count is None else logits + log_count, mask), action)


def gbce_loss(
    logits: Tensor,
    action: Tensor,
    calibration: float,
    mask: Tensor | None = None,
    log_count: Tensor | None = None,
) -> Tensor:
    """Return the generalised binary cross-entropy of the recorded action, in nats: logits (..., M, A) -> (..., M).

    -beta log sigmoid(s+) - sum log(1 - sigmoid(s-)), where beta = alpha (t (1 - 1 / alpha) + 1 / alpha) makes up for the
    overconfidence of sampled negatives: alpha is the share of the other actions that is sampled and t the calibration, from
    0 (the plain binary cross-entropy) to 1 (calibrated). Petrov and Macdonald 2023, arXiv:2308.07192. Differs: not divided
    by the number of actions. log_count as in `cloning_loss`; None: nothing is sampled, so alpha is 1.
    """
    positive = gather_actions(logits, action)
    of_all = softplus(logits) if mask is None else softplus(logits).masked_fill(~mask, 0.0)
    negatives = of_all.sum(dim=-1) - gather_actions(of_all, action)
    beta: Tensor | float = 1.0
    if log_count is not None:
        alpha = (-log_count.amax(dim=-1)).exp()  # of the sampled columns; the recorded action stands for itself
        beta = alpha * calibration * (1.0 - 1.0 / alpha) + 1.0
    return beta * softplus(-positive) + negatives


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.online.policy_logits is not None
    logits = step.online.policy_logits[:, :-1]
    nats = mean_over_dimensions(cloning_loss(logits, step.batch.action, step.mask, step.log_count))
    plain = nats.detach()
    if step.config.cloning_loss == "gbce":
        found = gbce_loss(logits, step.batch.action, step.config.gbce_calibration, step.mask, step.log_count)
        nats = mean_over_dimensions(found)
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
