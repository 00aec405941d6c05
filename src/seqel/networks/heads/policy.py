"""The policy head: logits of the recorded action, given the attended state."""

from __future__ import annotations

from seqel.networks.heads.base import ActionHead

__all__ = ["PolicyHead"]


class PolicyHead(ActionHead):
    """Logits of every action. Dimensions are independent given the history; the policy is uniform at first."""
