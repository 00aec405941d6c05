"""What the greedy action is chosen by: values, the policy's log-probabilities, or values among what the policy supports."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.networks.config import NetworkConfig
from seqel.types import QOutput
from seqel.values.policy import log_policy, support_mask

__all__ = ["action_scores"]

FAR = 1e6  # return scales: how far below the others a value is put that the policy head filters out


def action_scores(out: QOutput, scale: Tensor, config: NetworkConfig, mask: Tensor | None = None) -> Tensor:
    """Scores whose argmax, in each dimension, is the greedy action: (..., M, A), -inf where the mask (of that shape, or 1
    for M) forbids and beyond a dimension's own size.

    The values; or the policy's log-probabilities where it decides; or the values with those put far below that the
    policy finds too unlikely (discrete BCQ), among themselves in the order of the policy.
    """
    if out.available is not None:
        mask = out.available if mask is None else mask & out.available
    found = out.q
    if config.policy_head == "greedy":
        assert out.policy_logits is not None
        found = log_policy(out.policy_logits, mask)
    elif config.policy_head == "constraint":
        assert out.policy_logits is not None
        near = support_mask(out.policy_logits, config.bcq_threshold, mask)
        found = torch.where(near, out.q, (log_policy(out.policy_logits, mask) - FAR) * scale)
    return found if mask is None else found.masked_fill(~mask, -torch.inf)
