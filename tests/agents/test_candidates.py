"""Choosing among candidates: their values are those of all actions, and other actions are never chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from seqel.agents.agent import Agent
from seqel.errors import SpaceError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec


def agent(**network: Any) -> Agent:
    torch.manual_seed(0)
    observation = ObservationSpec.from_space(spaces.Box(-1.0, 1.0, (2,), np.float32))
    config = NetworkConfig(width=8, heads=2, layers=1, context=4, **network)
    made = QNetwork(config, observation, ActionSpec((9,), (5,)))  # actions 5 to 13
    for parameter in made.head.parameters():
        torch.nn.init.normal_(parameter)
    return Agent(made)


SEEN = np.array([[0.1, -0.3], [0.9, 0.2]], np.float32)


@pytest.mark.parametrize("network", [{}, {"actions": "embedded"}, {"policy_head": "constraint"}])
def test_values_of_candidates_equal_those_of_all_actions(network: dict[str, Any]) -> None:
    one = agent(**network)
    whole, _ = one.act(SEEN)
    some, state = one.act(SEEN, candidates=[[7, 13, 5], [6, -1, -1]])
    expected = np.array([whole.q[0, [2, 8, 0]], [whole.q[1, 1], -np.inf, -np.inf]])
    np.testing.assert_allclose(some.q, expected, rtol=1e-5)
    assert some.action.tolist() == [[7, 13, 5][int(expected[0].argmax())], 6]
    assert state.last_action[:, 0].tolist() == (some.action - 5).tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[4], [6]], "actions of the action space"),
        ([[14], [6]], "actions of the action space"),
        ([[-1], [6]], r"rows \[0\] have none"),
        ([[6]], r"expected integers \[2, C\]"),
        ([[6.0], [7.0]], "float64"),
    ],
)
def test_invalid_candidates_are_refused(given: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        agent().act(SEEN, candidates=given)
    with pytest.raises(SpaceError, match="got both"):
        agent().act(SEEN, candidates=[[6], [6]], mask=np.ones((2, 9), bool))
