"""The policy head: logits of the recorded action, given the attended state."""

from __future__ import annotations

from typing import ClassVar

from seqel.networks.heads.base import ActionHead

__all__ = ["PolicyHead"]


class PolicyHead(ActionHead):
    """Logits of every action. Dimensions are independent given the history; it is uniform at first, or that of a
    language model whose tokens are the actions."""

    is_policy: ClassVar[bool] = True
