"""The heads other than the Q head. To add one: a file here, its field in `QOutput`, its setting, a line below, a test.

The name is the attribute of the network, and therefore the prefix of its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.base import Head
from seqel.networks.heads.cost import CostHead
from seqel.networks.heads.novelty import NoveltyHead
from seqel.networks.heads.policy import PolicyHead
from seqel.networks.heads.state_value import StateValueHead
from seqel.spaces import ActionSpec

__all__ = ["HEADS", "HeadEntry", "make_heads"]


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """One kind of head."""

    make: Callable[[ActionSpec, NetworkConfig], Head]
    wanted: Callable[[NetworkConfig], bool]
    field: str  # of `QOutput`
    setting: str  # how to enable it, for messages
    default: dict[str, Any]  # settings of `NetworkConfig` that enable it if a term of the objective needs it
    learns_values: bool = False  # as the Q head does: `network.value_gradient` is about it too


HEADS: dict[str, HeadEntry] = {
    "policy": HeadEntry(
        PolicyHead,
        lambda config: config.policy_head != "none",
        "policy_logits",
        "a policy head: set network.policy_head (it is 'none')",
        {"policy_head": "greedy"},
    ),
    "state_value": HeadEntry(
        StateValueHead,
        lambda config: config.state_value,
        "value",
        "network.state_value = true",
        {"state_value": True},
        learns_values=True,
    ),
    "novelty": HeadEntry(
        NoveltyHead, lambda config: config.novelty, "novelty", "network.novelty = true", {"novelty": True}
    ),
    "cost": HeadEntry(CostHead, lambda config: config.cost, "cost", "network.cost = true", {"cost": True}),
}


def make_heads(action: ActionSpec, config: NetworkConfig) -> dict[str, Head]:
    """Make the heads that the config asks for, by name."""
    return {name: entry.make(action, config) for name, entry in HEADS.items() if entry.wanted(config)}
