"""What the agent would decide had one past observation been another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError
from seqel.explanation.trace import EpisodeTrace, decision_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent

__all__ = ["counterfactual"]


def counterfactual(agent: Agent, episode: EpisodeTrace, step: int, leaf: str, value: Any) -> NDArray[np.float32]:
    """The decision scores of the same episode with another observation at one step; nothing else differs.

    -> (T+1, A), or (T+1, M, A) where M > 1.

    Raises:
        ConfigError: there is no such step or leaf.
    """
    if leaf not in episode.observation or not 0 <= step <= len(episode):
        raise ConfigError(
            f"expected a step from 0 to {len(episode)} and one of {sorted(episode.observation)}, got {step} and {leaf!r}"
        )
    other = episode.observation[leaf].copy()
    other[step] = value
    return decision_scores(agent, replace(episode, observation={**episode.observation, leaf: other}))
