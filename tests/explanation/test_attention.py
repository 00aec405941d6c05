"""What is shown of an episode: the pass that explains is the one that acted, and the sums are worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.explanation.attention import Focus, attention, changed, q_values, rollout, strongest_head, watch
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.memory import PassiveTMaze

LENGTH, CONTEXT = 9, 4


def maze() -> PassiveTMaze:
    return PassiveTMaze(length=LENGTH)


@pytest.fixture(scope="module")
def agent() -> Agent:
    return wild("transformer")


def wild(trunk: str, context: int = CONTEXT) -> Agent:
    torch.manual_seed(0)
    env = maze()
    net = QNetwork(
        NetworkConfig(trunk=trunk, width=16, heads=2, layers=2, context=context),  # type: ignore[arg-type]
        ObservationSpec.from_space(env.observation_space),
        ActionSpec.from_space(env.action_space),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Agent(net)


def test_a_watched_episode_is_whole_and_its_values_are_those_acted_on(agent: Agent) -> None:
    episode = watch(agent, maze, seed=3)
    assert len(episode) == LENGTH + 1
    assert episode.observation["observation"].shape == (LENGTH + 2, 2)
    assert abs(episode.observation["observation"][0, 1]) == 1.0, "the cue stands at the first step"
    assert episode.success in (0.0, 1.0)
    np.testing.assert_array_equal(episode.action, episode.q.argmax(axis=1))
    np.testing.assert_allclose(q_values(agent, episode)[:-1], episode.q, atol=1e-5)


def test_the_same_seed_is_the_same_episode(agent: Agent) -> None:
    one, other = watch(agent, maze, seed=5), watch(agent, maze, seed=5)
    np.testing.assert_array_equal(one.action, other.action)
    np.testing.assert_array_equal(one.observation["observation"], other.observation["observation"])


def test_weights_are_shares_within_the_band(agent: Agent) -> None:
    weights = attention(agent, watch(agent, maze))
    steps = LENGTH + 2
    assert weights.shape == (2, 2, steps, steps)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)
    i, j = np.indices((steps, steps))
    outside = (j > i) | (j <= i - CONTEXT)
    assert (weights[:, :, outside] == 0.0).all()
    assert (weights[:, :, ~outside] > 0.0).all()


def test_a_network_without_attention_says_so() -> None:
    gru = wild("gru")
    with pytest.raises(ConfigError, match="transformer"):
        attention(gru, watch(gru, maze))


def test_the_strongest_head_looks_at_the_past_alone() -> None:
    weights = np.zeros((2, 2, 4, 4), np.float32)
    weights[:, :, 3] = [0.1, 0.1, 0.1, 0.7]  # every head looks at itself most: that is no memory
    weights[1, 0, 3] = [0.2, 0.5, 0.2, 0.1]
    assert strongest_head(weights, 3) == Focus(layer=1, head=0, step=1, share=0.5)
    for step in (0, 4):
        with pytest.raises(ConfigError, match="expected 1 to 3"):
            strongest_head(weights, step)


def test_rollout_of_two_steps_by_hand() -> None:
    first, second = [[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]
    flow = rollout(np.array([[first], [second]], np.float32))
    # step 1: (0.5 A2 + 0.5 I) (0.5 A1 + 0.5 I) = [0.5, 0.5] @ [[1, 0], [0.25, 0.75]]
    np.testing.assert_allclose(flow, [[1.0, 0.0], [0.625, 0.375]], atol=1e-6)


def test_another_cue_changes_nothing_before_it_and_what_reaches_back_after(agent: Agent) -> None:
    episode = watch(agent, maze)
    same = changed(agent, episode, 4, "observation", episode.observation["observation"][4])
    np.testing.assert_array_equal(same, q_values(agent, episode))
    other = changed(agent, episode, 4, "observation", np.array([0.0, 1.0]))
    different = np.abs(other - same).max(axis=1) > 1e-6
    reach = 2 * (CONTEXT - 1)  # two layers
    assert different.tolist() == [4 <= t <= 4 + reach for t in range(LENGTH + 2)]
    with pytest.raises(ConfigError, match="nothing"):
        changed(agent, episode, 4, "nothing", 0.0)
    with pytest.raises(ConfigError, match="a step from 0 to"):
        changed(agent, episode, LENGTH + 2, "observation", 0.0)
