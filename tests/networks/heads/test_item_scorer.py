"""Items: one table reads the history and scores the catalogue, for all items, candidates and sampled negatives alike."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.items import ItemTable
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from support_ranking import make_agent

ITEMS = 30


def make(**changes: Any) -> QNetwork:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "width": 8, "heads": 2, "layers": 1, "context": 4, "actions": "items", "policy_head": "greedy",
    }  # fmt: skip
    config = NetworkConfig(**given | changes)
    spec = ObservationSpec.from_space(spaces.Box(0.0, 1.0, (2,)))
    network = QNetwork(config, spec, ActionSpec((ITEMS,), (0,))).eval()
    for part in network.modules():
        if isinstance(part, ItemScorer):
            torch.nn.init.normal_(part.last.weight)
            torch.nn.init.normal_(part.last.bias)
    return network


def table_of(network: QNetwork) -> ItemTable:
    assert network.tokens.items is not None
    return network.tokens.items


def scorers(network: QNetwork) -> list[ItemScorer]:
    return [part for part in network.modules() if isinstance(part, ItemScorer)]


def test_scores_are_products_with_the_vectors_of_the_history() -> None:
    network = make()
    table = table_of(network)
    value, policy = scorers(network)
    h = torch.randn(3, 8)
    v = value.last(h)
    torch.testing.assert_close(value(h)[..., 0], v[:, :8] @ table.own.weight.T + v[:, 8:])
    torch.testing.assert_close(policy(h)[..., 0], (h + policy.last(h)[:, :8]) @ table.own.weight.T)


@pytest.mark.parametrize("value", ["scalar", "hl-gauss"])
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("count", [5, 20])
def test_candidates_are_columns_of_all(value: Any, dueling: bool, count: int) -> None:
    network = make(value=value, bins=5, dueling=dueling)
    h = torch.randn(2, 3, 8)
    own, alike = torch.randint(ITEMS, (2, 3, count)), torch.randint(ITEMS, (count,)).expand(2, 3, count).clone()
    alike[..., 0] = torch.randint(ITEMS, (2, 3))  # as sampled negatives: the action taken, then the same for all steps
    out = network.heads(h)
    for some in (own, alike):
        part = network.heads(h, some)
        assert part.policy_logits is not None and out.policy_logits is not None
        torch.testing.assert_close(part.q, out.q.gather(-1, some[:, :, None]))
        torch.testing.assert_close(part.policy_logits, out.policy_logits.gather(-1, some[:, :, None]))


def test_the_table_is_one_and_is_copied_with_its_network() -> None:
    network = make()
    assert sum("own.weight" in name for name in network.state_dict()) == 1
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in table_of(network).parameters():
            parameter.add_(1.0)
    h = torch.randn(1, 8)
    assert not torch.allclose(network.heads(h).q, other.heads(h).q)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(network.heads(h).q, other.heads(h).q)


def test_a_saved_agent_ranks_the_same(tmp_path: Path) -> None:
    network = make(action_features=3)
    network.describe_actions(torch.randn(ITEMS, 3))
    agent = Agent(network)
    loaded = Agent.load(agent.save(tmp_path / "agent"))
    seen = np.zeros((4, 2), np.float32)
    assert (agent.act(seen)[0].q == loaded.act(seen)[0].q).all()


def test_a_history_is_read_with_the_same_vectors() -> None:
    network = make(policy_head="auxiliary")
    agent = Agent(network)
    q = []
    for item in (3, 4):
        _, state = agent.act(np.zeros((1, 2), np.float32))
        decision, _ = agent.act(np.zeros((1, 2), np.float32), state, previous_action=np.array([item]))
        q.append(decision.q)
    assert not np.allclose(q[0], q[1])
    with torch.no_grad():
        table_of(network).own.weight[3] = table_of(network).own.weight[4]
    _, state = agent.act(np.zeros((1, 2), np.float32))
    decision, _ = agent.act(np.zeros((1, 2), np.float32), state, previous_action=np.array([3]))
    np.testing.assert_allclose(np.delete(decision.q, 3), np.delete(q[1], 3), rtol=1e-5)


def test_unknown_items_have_what_their_features_say() -> None:
    table = ItemTable(4, 8, features=2).eval()
    table.describe(torch.tensor([[0.0, 5.0], [0.0, 7.0], [1.0, 5.0], [1.0, 7.0]]))
    np.testing.assert_allclose(table.features.mean(dim=0), 0.0, atol=1e-6)
    table.known[1] = False
    assert table.described is not None
    expected = table.own.weight * torch.tensor([[1.0], [0.0], [1.0], [1.0]]) + table.described(table.features)
    torch.testing.assert_close(table(), expected)
    torch.testing.assert_close(table(torch.tensor([[3, 1]])), expected[[3, 1]][None])


def test_vectors_are_remembered_until_a_weight_changes() -> None:
    table = ItemTable(5, 4, features=2).eval()
    table.describe(torch.randn(5, 2))
    with torch.no_grad():
        first = table()
        assert table() is first
        copied = copy.deepcopy(table)
        table.own.weight[2] += 1.0
        assert table() is not first
        torch.testing.assert_close(table() - first, torch.eye(5)[2][:, None].expand(5, 4))
        table.known[2] = False
        assert table().equal(table(torch.arange(5)))
        torch.testing.assert_close(copied(), first)
    assert table().requires_grad


def test_the_head_that_decides_is_enough() -> None:
    for head in ("greedy", "auxiliary", "constraint"):
        network, h = make(policy_head=head), torch.randn(3, 8)
        torch.testing.assert_close(network.decision_scores(h), network.scores(network.heads(h)))


def test_own_vectors_are_forgotten_in_training_alone() -> None:
    table = ItemTable(1_000, 4, features=1, dropout=0.3)
    table.describe(torch.ones(1_000, 1))
    left_out = (table() == 0.0).all(dim=1).float().mean()  # features are zero, so nothing is left
    assert 0.2 < left_out < 0.4 and not bool((table.eval()() == 0.0).all(dim=1).any())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"previous_action": False}, "network.previous_action is false"),
        ({"critics": 2}, "network.critics: expected 1"),
        ({"actions": "outputs", "action_features": 2}, "expected 0 unless network.actions is 'embedded' or 'items'"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_several_dimensions_are_refused() -> None:
    spec = ObservationSpec.from_space(spaces.Box(0.0, 1.0, (2,)))
    config = NetworkConfig(width=8, heads=2, layers=1, context=4, actions="items")
    with pytest.raises(ConfigError, match="expected one action dimension, got 2"):
        QNetwork(config, spec, ActionSpec((3, 3), (0, 0)))


def test_values_may_leave_the_vectors_and_the_trunk_alone() -> None:
    gradients = {}
    for gradient in (True, False):
        network = make_agent(policy_head="greedy", value_gradient=gradient).network
        assert network.tokens.items is not None
        h = network.trunk(torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, dtype=torch.int64))
        out = network.heads(h)
        out.q.square().sum().backward()
        assert network.head.advantage.last.weight.grad is not None  # type: ignore[union-attr]
        gradients[gradient] = [network.tokens.items.own.weight.grad, next(network.trunk.parameters()).grad]
        assert out.policy_logits is not None
        network.heads(h.detach()).policy_logits.sum().backward()  # type: ignore[union-attr]
        assert network.tokens.items.own.weight.grad is not None
    assert all(one is not None for one in gradients[True]) and gradients[False] == [None, None]
    with pytest.raises(ConfigError, match="value_gradient = False needs a policy head"):
        make_agent(value_gradient=False)
