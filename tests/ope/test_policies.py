"""The evaluated policies if some actions are not allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.ope.policies import AgentPolicy, BehaviourPolicy, ConstantAction, Policy
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, FlatObservation
from seqel.types import Episode, SequenceBatch
from test_exactness import SPEC, cue_episodes

THREE = ActionSpec((3,), (0,))
MASK = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 1]], bool)


def batch() -> SequenceBatch:
    """Two sessions, the second truncated; action 1 is always allowed and always taken."""
    one = cue_episodes()[0]
    made = [
        Episode(one.observation, np.ones((3, 1), np.int64), one.reward, not cut, cut, action_mask=MASK)
        for cut in (False, True)
    ]
    return next(InMemoryDataset.of(made, SPEC, THREE).buffer.batches(window=3, context=4, discount=0.9))


@pytest.mark.parametrize(
    "policy",
    [ConstantAction(0, 3), ConstantAction(2, 3), BehaviourPolicy((0.4, 0.4, 0.2))],
    ids=["first", "last", "recorded"],
)
def test_forbidden_actions_have_no_probability(policy: Policy) -> None:
    found = policy.probabilities(batch())
    assert found.shape == (2, 4, 3)
    assert float(found[:, ~torch.from_numpy(MASK)].abs().max()) == 0.0
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 4))


def test_a_forbidden_constant_action_is_replaced_by_the_others_uniformly() -> None:
    found = ConstantAction(0, 3).probabilities(batch())[0]
    torch.testing.assert_close(found[:2, 0], torch.ones(2))
    torch.testing.assert_close(found[2], torch.tensor([0.0, 0.5, 0.5]))


SEVERAL = ActionSpec((3, 2), (0, 0))
MASKS = np.stack([MASK, np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0]], bool)], axis=1)  # (T+1, M, A)


def several(masked: bool = True) -> SequenceBatch:
    """Two sessions with two actions at each step, (1, 0) or, at the last step, (1, 1)."""
    one, taken = cue_episodes()[0], np.array([[1, 0], [1, 0], [1, 1]])
    made = [
        Episode(one.observation, taken, one.reward, not cut, cut, action_mask=MASKS if masked else None)
        for cut in (False, True)
    ]
    return next(InMemoryDataset.of(made, SPEC, SEVERAL).buffer.batches(window=3, context=4, discount=0.9))


def agent_of_several() -> AgentPolicy:
    net = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=4), SPEC, SEVERAL).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return AgentPolicy(Agent(net), epsilon=0.4)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    "policy",
    [ConstantAction((0, 1), (3, 2)), BehaviourPolicy(((0.4, 0.4, 0.2), (0.7, 0.3))), agent_of_several()],
    ids=["constant", "recorded", "agent"],
)
def test_with_several_actions_each_dimension_has_probabilities_among_what_is_allowed(
    policy: Policy, masked: bool
) -> None:
    found = policy.probabilities(several(masked))
    assert found.shape == (2, 4, 2, 3)
    allowed = torch.from_numpy(MASKS if masked else np.broadcast_to(SEVERAL.available, MASKS.shape).copy())
    assert float(found[:, ~allowed].abs().max()) == 0.0
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 4, 2))


def test_only_the_dimension_in_which_the_action_is_forbidden_is_drawn() -> None:
    found = ConstantAction((0, 1), (3, 2)).probabilities(several())[0]
    torch.testing.assert_close(found[0], torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]))  # only 0 is allowed in the second
    torch.testing.assert_close(found[2], torch.tensor([[0, 0.5, 0.5], [0, 1.0, 0]]))


def test_the_recorded_policy_counts_each_dimension() -> None:
    made = BehaviourPolicy.of(np.array([[1, 0], [1, 1], [2, 1], [1, 1]]), SEVERAL)
    assert made.frequencies == ((0.0, 0.75, 0.25), (0.25, 0.75))
    assert BehaviourPolicy.of(np.array([[1], [0]]), THREE).frequencies == (0.5, 0.5, 0.0)
    found = made.probabilities(several())[1]
    torch.testing.assert_close(found[2], torch.tensor([[0, 1.0, 0], [0, 1.0, 0]]))
    torch.testing.assert_close(found[3], torch.tensor([[0, 0.75, 0.25], [0, 1.0, 0]]))


@pytest.mark.parametrize(("action", "actions"), [((0, 2), (3, 2)), ((0,), (3, 2)), (3, 3), (0, (3, 2))], ids=str)
def test_an_action_that_does_not_exist_is_refused(action: Any, actions: Any) -> None:
    with pytest.raises(ConfigError, match="expected an action of"):
        ConstantAction(action, actions)


def test_after_the_record_the_behaviour_policy_uses_overall_frequencies_of_allowed_actions() -> None:
    found = BehaviourPolicy((0.4, 0.4, 0.2)).probabilities(batch())[1]
    torch.testing.assert_close(found[:3, 1], torch.ones(3))
    torch.testing.assert_close(found[3], torch.tensor([0.0, 2 / 3, 1 / 3]))


def test_a_policy_constraint_is_relative_to_the_allowed_actions() -> None:
    """The likeliest action is forbidden; both others are likely enough, so the one with the higher value is chosen."""
    network = QNetwork(
        NetworkConfig(width=16, heads=2, layers=1, context=4, policy_head="constraint"), SPEC, THREE
    ).eval()
    layers: Any = network  # torch declares its submodules as tensors or modules
    with torch.no_grad():
        layers.policy.linear.bias.copy_(torch.tensor([5.0, 0.0, -0.5]))
        layers.head.advantage.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    found = AgentPolicy(Agent(network, {})).probabilities(batch())[0]
    assert found.argmax(dim=-1).tolist() == [0, 0, 2, 2]
    seen = {path: leaf[:1, 0].numpy() for path, leaf in batch().observation.items()}
    assert Agent(network, {}).act(FlatObservation(seen), mask=[[False, True, True]])[0].action[0] == 2
