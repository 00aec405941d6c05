"""An agent whose actions are items as a ranker, to be evaluated beside others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.agents.ranking import history_scores
from seqel.ranking.baselines import Ranker
from seqel.ranking.interactions import Queries

__all__ = ["agent_ranker"]


def agent_ranker(agent: Agent, length: int = 200) -> Ranker:
    """Return the agent as a ranker for `evaluate_ranker`. It reads the latest `length` items of each history."""

    def scores(queries: Queries) -> NDArray[np.float32]:
        ratings = [queries.source.rating[a:b] for a, b in zip(queries.start, queries.stop, strict=True)]
        return history_scores(agent.network, queries.histories(), ratings, length)

    return scores
