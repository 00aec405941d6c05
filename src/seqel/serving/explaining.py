"""Which steps of a session its last decision depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqel.serving.records import StepFormat

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = ["influence"]


def influence(agent: Agent, form: StepFormat, records: NDArray[np.void], start: int) -> list[float]:
    """Return how much the decision at the last of T steps changes when each earlier one is hidden, (T-1,).

    records (T,): the latest steps of a session; start: the number of the first of them. See
    `seqel.explanation.occlusion.occlusion`.
    """
    from seqel.explanation.occlusion import occlusion
    from seqel.explanation.trace import EpisodeTrace

    if len(records) < 2:
        return []
    actions = records["previous_action"][1:].copy()  # what the agent read
    episode = EpisodeTrace(
        dict(form.observation(records)),
        actions if agent.action_spec.dims > 1 else actions[:, 0],
        records["previous_reward"][1:].copy(),
        np.zeros((0, 0), np.float32),  # not needed
        None,
        start,
        records["previous_action"][0].copy(),
        float(records["previous_reward"][0]),
    )
    return [float(one) for one in occlusion(agent, episode, len(episode))]
