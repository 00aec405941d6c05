"""The scores that the greedy action maximises: values, log-probabilities, or values of supported actions."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.networks.config import NetworkConfig
from seqel.types import QOutput
from seqel.values.policy import log_policy, support_mask

__all__ = ["action_scores"]

FAR = 1e6  # return scales: how far the value of an unsupported action is lowered


def action_scores(out: QOutput, scale: Tensor, config: NetworkConfig, mask: Tensor | None = None) -> Tensor:
    """Return scores whose argmax, in each dimension, is the greedy action: (..., M, A). They are -inf where the mask (of
    that shape, or 1 for M) forbids an action, and beyond a dimension's own size.

    The scores are the values, minus the penalty of costs where there is a constraint; or the log-probabilities of a policy
    head that decides, plus `value_weight` times the values; or, with discrete BCQ, the values, where actions that the policy
    finds too unlikely are put far below the others, ordered by their probability.
    """
    if out.available is not None:
        mask = out.available if mask is None else mask & out.available
    found = out.preference
    if config.policy_head == "greedy":
        assert out.policy_logits is not None
        found = log_policy(out.policy_logits, mask)
        if config.value_weight:
            found = found + config.value_weight * out.q / scale
    elif config.policy_head == "constraint":
        assert out.policy_logits is not None
        near = support_mask(out.policy_logits, config.bcq_threshold, mask)
        found = torch.where(near, out.q, (log_policy(out.policy_logits, mask) - FAR) * scale)
    return found if mask is None else found.masked_fill(~mask, -torch.inf)
