"""Recorded episodes are those of `seqel.evaluate`, and their values are those of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError
from seqel.evaluation.recording import PlayedEpisodes, play_recorded
from seqel.evaluation.rollout import evaluate
from seqel.explanation.trace import record_episode, window_of
from seqel.spaces import ActionSpec
from support import Dials, Walk, network


@pytest.mark.parametrize("environments", [1, 4])
def test_the_episodes_are_those_of_evaluate(environments: int) -> None:
    agent = Agent(network())
    played = play_recorded(agent, Walk, 11, seed=5, environments=environments)
    result = evaluate(agent, Walk, 11, seed=5)
    assert played.evaluation() == result
    assert played.terminated.tolist() == [(5 + n) % 2 == 0 for n in range(11)]
    assert played.lengths.tolist() == [3 + (5 + n) % 5 for n in range(11)]


@pytest.mark.parametrize("settings", [{}, {"policy_head": "greedy"}, {"policy_head": "constraint"}])
def test_the_value_is_that_of_the_chosen_action_even_if_a_policy_head_decides(settings: Any) -> None:
    agent = Agent(network(**settings))
    played = play_recorded(agent, Walk, 3, seed=7)
    trace = record_episode(agent, Walk, seed=8)
    start, length = int(played.starts[1]), int(played.lengths[1])
    assert len(trace) == length and played.action[start : start + length, 0].tolist() == trace.action.tolist()
    q = agent.network(window_of(agent, trace)).q[0, :-1, 0].detach().numpy()
    wanted = np.take_along_axis(q, trace.action[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(played.q[start : start + length], wanted, atol=1e-5)


def test_the_value_of_several_dimensions_is_their_mean() -> None:
    agent = Agent(network(ActionSpec((3, 2), (0, 5)), value="scalar"))
    played = play_recorded(agent, Dials, 2)
    trace = record_episode(agent, Dials, seed=0)
    best = np.take_along_axis(trace.q, trace.action[..., None], axis=-1)[..., 0].mean(axis=1)
    np.testing.assert_allclose(played.q[:9], best, atol=1e-5)
    assert played.action.shape == (18, 2) and played.action.max() <= 2


def test_a_limit_cuts_episodes_off_and_they_are_not_terminated() -> None:
    """Seeds 4, 5, 6, 7 last 7, 3, 4 and 5 steps, and 5 is truncated by the environment: three are cut at 3 steps."""
    played = play_recorded(Agent(network()), Walk, 4, seed=4, limit=3)
    assert played.lengths.tolist() == [3, 3, 3, 3] and played.truncated == 3
    assert not played.terminated.any()


def test_the_tree_holds_everything_and_damage_is_noticed() -> None:
    played = play_recorded(Agent(network()), Walk, 3)
    again = PlayedEpisodes.from_tree(played.as_tree())
    assert again.evaluation() == played.evaluation() and again.q is played.q
    with pytest.raises(CheckpointError, match="whole episodes"):
        PlayedEpisodes.from_tree(played.as_tree() | {"reward": played.reward[:-1]})
    with pytest.raises(CheckpointError, match="expected"):
        PlayedEpisodes.from_tree({"q": played.q})
    with pytest.raises(ConfigError, match="at least 1"):
        play_recorded(Agent(network()), Walk, 0)
