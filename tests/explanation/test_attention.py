"""Explanations match what the network computes: the same values, the weights that were used, the right step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.environments.resolve import resolve
from seqel.errors import ConfigError
from seqel.explanation.attention import AttentionPeak, attention, strongest_head
from seqel.explanation.counterfactual import counterfactual
from seqel.explanation.occlusion import occlusion
from seqel.explanation.trace import decision_scores, record_episode, window_of
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec

LENGTH, CONTEXT = 6, 4


def make_agent(trunk: str = "transformer") -> tuple[Agent, object]:
    make = resolve("seqel/TMaze-v0", length=LENGTH)
    env = make()
    torch.manual_seed(0)
    config = NetworkConfig(trunk=trunk, width=16, layers=2, heads=2, context=CONTEXT)  # type: ignore[arg-type]
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    network = QNetwork(config, spec, action).eval()
    for parameter in network.head.parameters():  # it is initialised to zero, where every claim would hold
        torch.nn.init.normal_(parameter)
    return Agent(network), make


def test_the_whole_episode_gives_the_values_that_were_acted_on() -> None:
    agent, make = make_agent()
    episode = record_episode(agent, make, seed=3)  # type: ignore[arg-type]
    assert len(episode) == LENGTH + 1 and episode.success is not None
    q = decision_scores(agent, episode)
    assert q.shape == (LENGTH + 2, 4)
    np.testing.assert_allclose(q[:-1], episode.q, atol=1e-5)
    np.testing.assert_array_equal(q[:-1].argmax(axis=1), episode.action)


def test_attention_weights_stay_within_the_context() -> None:
    agent, make = make_agent()
    weights = attention(agent, record_episode(agent, make))  # type: ignore[arg-type]
    assert weights.shape == (2, 2, LENGTH + 2, LENGTH + 2)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)
    step, seen = np.indices(weights.shape[2:])
    outside = (seen > step) | (seen <= step - CONTEXT)
    assert (weights[:, :, outside] == 0.0).all() and (weights[:, :, ~outside] > 0.0).all()


def test_a_gru_has_no_attention_to_show() -> None:
    agent, make = make_agent("gru")
    with pytest.raises(ConfigError, match="transformer"):
        attention(agent, record_episode(agent, make))  # type: ignore[arg-type]


def test_the_strongest_head_looks_at_the_past_not_at_itself() -> None:
    weights = np.zeros((2, 2, 4, 4), np.float32)
    weights[..., 0] = 0.1
    weights[0, 0, 3, 3] = 0.9  # the current step is not memory
    weights[1, 0, 3, 1] = 0.7
    weights[1, 1, 2, 0] = 0.8  # at another step
    assert strongest_head(weights, 3) == AttentionPeak(layer=1, head=0, step=1, share=pytest.approx(0.7))  # type: ignore[arg-type]
    for step in (0, 4):
        with pytest.raises(ConfigError, match="with earlier steps"):
            strongest_head(weights, step)


def test_a_changed_observation_changes_nothing_before_it() -> None:
    agent, make = make_agent()
    episode = record_episode(agent, make)  # type: ignore[arg-type]
    before = {path: leaf.copy() for path, leaf in episode.observation.items()}
    now, other = decision_scores(agent, episode), counterfactual(agent, episode, 4, "observation", (1.0, -1.0))
    np.testing.assert_array_equal(now[:4], other[:4])
    assert (now[4] != other[4]).all()
    for path, leaf in before.items():
        np.testing.assert_array_equal(leaf, episode.observation[path])
    with pytest.raises(ConfigError, match="expected a step"):
        counterfactual(agent, episode, 99, "observation", 0.0)
    with pytest.raises(ConfigError, match="cue"):
        counterfactual(agent, episode, 0, "cue", 0.0)


def test_occlusion_reaches_as_far_as_the_receptive_field() -> None:
    agent, make = make_agent()
    episode = record_episode(agent, make)  # type: ignore[arg-type]
    last = len(episode)
    found = occlusion(agent, episode, last)
    reach = 2 * (CONTEXT - 1)  # two layers
    assert found.shape == (last,)
    assert [bool(value > 1e-6) for value in found] == [last - step <= reach for step in range(last)]
    with pytest.raises(ConfigError, match="with earlier steps"):
        occlusion(agent, episode, 0)


def test_occlusion_of_one_step_by_hand() -> None:
    agent, make = make_agent()
    episode = record_episode(agent, make)  # type: ignore[arg-type]
    network, window, step = agent.network, window_of(agent, episode), 5
    with torch.no_grad():
        tokens = network.embed(window)
        hidden = tokens.clone()
        hidden[0, 3] = tokens[0, :step].mean(dim=0)
        now, other = (
            network.head(network.trunk(x, window.is_first, window.start_step)).q[0, step, 0] for x in (tokens, hidden)
        )
    change = (other - other.mean()) - (now - now.mean())
    assert occlusion(agent, episode, step)[3] == pytest.approx(float(change.abs().max()), rel=1e-4)


def test_an_agent_whose_policy_head_decides_is_explained_by_its_policy() -> None:
    """Values play no part in its decisions, so changing them must not change the explanation; changing the policy must."""
    make = resolve("seqel/TMaze-v0", length=LENGTH)
    env = make()
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    torch.manual_seed(0)
    network: Any = QNetwork(
        NetworkConfig(width=16, heads=2, context=CONTEXT, policy_head="greedy"), spec, action
    ).eval()
    assert network.policy is not None
    for parameter in [*network.head.parameters(), *network.policy.parameters()]:
        torch.nn.init.normal_(parameter)
    agent = Agent(network)
    episode = record_episode(agent, make, seed=3)
    before = decision_scores(agent, episode)
    np.testing.assert_allclose(before[:-1], episode.q, atol=1e-5)
    np.testing.assert_allclose(np.exp(before).sum(axis=1), 1.0, atol=1e-5)
    influences = occlusion(agent, episode, LENGTH)
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter)
    np.testing.assert_array_equal(decision_scores(agent, episode), before)
    np.testing.assert_array_equal(occlusion(agent, episode, LENGTH), influences)
    for parameter in network.policy.parameters():
        torch.nn.init.normal_(parameter)
    assert np.abs(decision_scores(agent, episode) - before).max() > 1e-3
    assert np.abs(occlusion(agent, episode, LENGTH) - influences).max() > 1e-3
