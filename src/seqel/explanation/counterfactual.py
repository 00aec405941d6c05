"""What the agent would have decided if one past observation had been different."""

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
    """Return the decision scores of the same episode with another observation at one step; the rest is unchanged.

    -> (T+1, A), or (T+1, M, A) if M > 1.

    Raises:
        ConfigError: the step or leaf does not exist.
    """
    if leaf not in episode.observation or not 0 <= step <= len(episode):
        raise ConfigError(
            f"expected a step from 0 to {len(episode)} and a leaf of {sorted(episode.observation)}, got {step} and {leaf!r}"
        )
    other = episode.observation[leaf].copy()
    other[step] = value
    return decision_scores(agent, replace(episode, observation={**episode.observation, leaf: other}))
