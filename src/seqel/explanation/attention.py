"""The attention weights of an episode: which steps the network attended to.

They do not show what would have changed a decision: information can be passed on from step to step, and then no head
attends to its origin from the decision. `attribute` and `counterfactual` answer that question; any single method can
mislead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqel.explanation.trace import EpisodeTrace, require_past, window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from seqel.agents.agent import Agent
    from seqel.types import SequenceBatch

__all__ = ["AttentionPeak", "attention", "strongest_head", "weights_of"]


@dataclass(frozen=True, slots=True)
class AttentionPeak:
    """The step that one attention head attends to most, with its `share` of the weight. All numbers count from 0."""

    layer: int
    head: int
    step: int
    share: float


def attention(agent: Agent, episode: EpisodeTrace) -> NDArray[np.float32]:
    """Return the weights of every layer and head: (layers, H, T+1, T+1), rows are the queries.

    Raises:
        ConfigError: the trunk has no attention, as a GRU.
    """
    return np.asarray(weights_of(agent, window_of(agent, episode)).cpu().numpy(), np.float32)


def weights_of(agent: Agent, window: SequenceBatch) -> Tensor:
    """Return the weights in a batch of one window, (layers, H, T+1, T+1) float32. Raises as `attention` does."""
    return agent.network.attention(window)[0].float()


def strongest_head(weights: NDArray[np.float32], step: int) -> AttentionPeak:
    """Return the head that puts the most weight on a single past step, seen from `step`.

    weights (layers, H, T, T). The step itself does not count as past.

    Raises:
        ConfigError: there are no steps before `step`.
    """
    require_past(step, weights.shape[-1])
    past = weights[:, :, step, :step]  # (layers, H, step)
    layer, head, best = (int(n) for n in np.unravel_index(int(past.argmax()), past.shape))
    return AttentionPeak(layer, head, best, float(past[layer, head, best]))
