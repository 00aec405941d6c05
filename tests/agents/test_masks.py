"""An agent with masks: which are accepted, which are refused, and the warning if one is missing."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.errors import SpaceError
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ObservationSpec
from support import SPACE, network

SEEN = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def of_dict() -> Agent:
    """It observes {"observation": ...}, as an environment with its mask in the observation is read."""
    space = gym.spaces.Dict({"observation": SPACE})
    known = network()
    net = QNetwork(known.config, ObservationSpec.from_space(space), known.action_spec)
    net.load_state_dict(known.state_dict())
    return Agent(net)


def worst(agent: Agent, seen: Any) -> np.ndarray:
    """The action with the lowest value: it must be chosen if it is the only one allowed."""
    return np.asarray(agent.act(seen)[0].q.argmin(axis=1))


@pytest.mark.parametrize(
    "mask", [[[0, 2]] * 5, np.zeros((5, 3)), np.ones((5, 3, 1)), np.full((5, 3), np.nan), ["111"] * 5]
)
def test_act_and_predict_refuse_invalid_masks(mask: Any) -> None:
    agent = Agent(network())
    with pytest.raises(SpaceError, match="mask"):
        agent.act(SEEN, mask=mask)
    with pytest.raises(SpaceError, match="mask"):
        agent.predict(SEEN, action_masks=mask)


def test_predict_takes_action_masks() -> None:
    agent = Agent(network())
    only = worst(agent, SEEN)
    masks = np.eye(3, dtype=np.int8)[only]
    assert (agent.predict(SEEN, action_masks=masks)[0] == only).all()
    assert [
        int(agent.predict(one, action_masks=mask)[0]) for one, mask in zip(SEEN, masks, strict=True)
    ] == only.tolist()
    assert int(agent.predict(SEEN[0], action_masks=masks[:1])[0]) == only[0], "sb3-contrib gives one with a batch axis"


def test_a_mask_in_the_observation_is_used() -> None:
    agent = of_dict()
    only = worst(agent, {"observation": SEEN})
    masks = np.eye(3, dtype=bool)[only]
    observation = {"observation": SEEN, "action_mask": masks}
    assert (agent.act(observation)[0].action == only).all()
    assert (agent.predict(observation)[0] == only).all()
    assert int(agent.predict({"observation": SEEN[0], "action_mask": masks[0]})[0]) == only[0]


def test_an_agent_trained_with_masks_warns_once_without_one() -> None:
    agent = Agent(network(), {"masked": True})
    with pytest.warns(UserWarning, match="trained with action masks and acts without one"):
        agent.act(SEEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.act(SEEN)
        Agent(network(), {"masked": True}).act(SEEN, mask=np.ones((5, 3), bool))
        Agent(network()).act(SEEN)
    with pytest.warns(UserWarning, match="action_masks"):
        Agent(network(), {"masked": True}).predict(SEEN)


def test_a_single_observation_is_a_space_error_that_says_what_to_do() -> None:
    with pytest.raises(SpaceError, match=r"expected a batch.*`observation\[None\]`"):
        Agent(network()).act(SEEN[0])


def test_a_reward_that_is_not_finite_is_refused_and_leaves_the_memory_unchanged() -> None:
    agent = Agent(network())
    _, state = agent.act(SEEN)
    before = {name: tensor.clone() for name, tensor in state.memory.items()}
    for bad in (np.nan, np.inf):
        with pytest.raises(SpaceError, match="reward: expected finite numbers"):
            agent.act(SEEN, state, reward=np.array([0, 0, bad, 0, 0]))
    assert all((state.memory[name] == before[name]).all() for name in before)
    first = np.array([False, False, True, False, False])
    assert np.isfinite(agent.act(SEEN, state, reward=np.where(first, np.nan, 0.0), first=first)[0].q).all()
