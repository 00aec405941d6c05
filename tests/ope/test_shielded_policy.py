"""An agent's rules in its policy of an estimate: as in `Agent.act`, after whole histories and not windows of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError, DataError
from seqel.evaluation.abstaining import recorded_sessions
from seqel.ope.estimation import estimate_policies
from seqel.ope.fqe import FQETrainer
from seqel.ope.policies import AgentPolicy, ConstantAction, Policy
from seqel.ope.saved_fits import fingerprint
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, FlatObservation
from seqel.types import Episode
from support import network
from support_safety import RULES, SPEC, forbidden

FOUR = ActionSpec((4,), (0,))
ONLY_WAIT = "fallback = 0\n[[rule]]\nnever = [1, 2, 3]\n"
WINDOW, CONTEXT = 5, 2


def recorded(episodes: int, masked: bool = False) -> InMemoryDataset:
    """Random actions, of which the rules veto many. With masks, action 3 is forbidden at each third step."""
    rng, found = np.random.default_rng(0), []
    for _ in range(episodes):
        steps = int(rng.integers(6, 15))
        seen = rng.standard_normal((steps + 1, 3)).astype(np.float32)
        mask = np.ones((steps + 1, 4), bool)
        mask[::3, 3] = False
        mask[-1] = False  # nothing is allowed at the end
        action = np.where(mask[:-1, 3], rng.integers(0, 4, steps), rng.integers(0, 3, steps))[:, None]
        reward = rng.standard_normal(steps).astype(np.float32)
        found.append(
            Episode(FlatObservation({"observation": seen}), action, reward, True, action_mask=mask if masked else None)
        )
    return InMemoryDataset.of(found, SPEC, FOUR)


def agent(rules: str = RULES) -> Agent:
    """An agent that prefers refunds (1) and discounts (3), which the rules veto most often."""
    net: Any = network(FOUR, layers=1, context=CONTEXT)
    with torch.no_grad():
        net.head.advantage.bias.add_(torch.tensor([-1.0, 1.0, 0.0, 1.0]))
    return Agent(net, {"shield": rules} if rules else {})


def forbidden_steps(data: InMemoryDataset) -> list[list[set[int]]]:
    """What the rules forbid at each step of each episode, by the plain interpreter."""
    columns, found = data.buffer.slots.columns, []
    for slot, length, *_ in data.buffer.table.numbers.tolist():
        seen = columns["observation/observation"][slot : slot + length + 1]
        actions = columns["action"][slot : slot + length, 0].tolist()
        rewards = columns["reward"][slot : slot + length].tolist()
        found.append([forbidden(seen[: t + 1], actions[:t], rewards[:t]) for t in range(length)])
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_the_policy_is_what_the_agent_would_do_at_every_step_of_long_sessions(masked: bool) -> None:
    data, one = recorded(40, masked), agent()
    decided, vetoed = recorded_sessions(one, data.buffer), forbidden_steps(data)
    plain = recorded_sessions(agent(""), data.buffer)
    assert decided.actions is not None and plain.actions is not None
    policy = AgentPolicy(one, epsilon=0.4).within_rules(data.buffer)
    counted = changed = 0
    for batch in data.buffer.batches(window=WINDOW, context=CONTEXT, discount=0.9):
        found = policy.probabilities(batch).numpy()  # (B, T+1, A)
        assert batch.episode_index is not None
        for row, step in np.argwhere(batch.loss_mask.numpy()).tolist():
            episode, time = int(batch.episode_index[row]), int(batch.start_step[row]) + step
            never = vetoed[episode][time] | ({3} if masked and time % 3 == 0 else set())
            expected = np.array([0.0 if code in never else 0.4 / (4 - len(never)) for code in range(4)])
            action = int(decided.actions[episode][time, 0])
            expected[action] += 0.6
            np.testing.assert_allclose(found[row, step], expected, atol=1e-6)
            counted += 1
            changed += action != plain.actions[episode][time, 0]
    assert counted == len(data.buffer) and changed > counted // 4, "the rules matter"


def test_a_policy_that_has_not_read_the_histories_is_refused() -> None:
    data = recorded(4)
    batch = next(data.buffer.batches(window=20, context=CONTEXT, discount=0.9))
    with pytest.raises(ConfigError, match="within_rules"):
        AgentPolicy(agent()).probabilities(batch)
    plain = AgentPolicy(agent(""))
    assert plain.within_rules(data.buffer) is plain


def test_histories_without_their_first_step_are_refused() -> None:
    data = recorded(4)
    data.buffer.table.numbers[1, 2] = 3
    with pytest.raises(DataError, match="first step"):
        AgentPolicy(agent()).within_rules(data.buffer)


@pytest.mark.usefixtures("small_fits")
def test_an_estimate_follows_the_rules_in_this_policy_alone() -> None:
    """With rules that allow a single action, the agent is the constant policy; the recorded policy takes vetoed ones."""
    data, tables = recorded(60), []

    def keep(trainer: FQETrainer) -> None:
        tables.append(trainer.table)

    policies: list[Policy] = [
        AgentPolicy(agent(ONLY_WAIT)),
        ConstantAction(0, 4, "always 0"),
        ConstantAction(1, 4, "always 1"),
    ]
    found = estimate_policies(policies, data, discount=0.9, updates=2, on_fit=keep)
    assert found.policies[0].agreement == found.policies[1].agreement
    assert found.policies[2].agreement == pytest.approx(np.mean(data.buffer.actions() == 1))
    assert torch.equal(tables[0][:, 1], tables[0][:, 2]) and not torch.equal(tables[0][:, 2], tables[0][:, 3])


def test_saved_fits_of_other_rules_are_not_used() -> None:
    buffer = recorded(3).buffer
    keys = {
        fingerprint([AgentPolicy(agent(rules)).within_rules(buffer)], buffer, {}) for rules in ("", RULES, ONLY_WAIT)
    }
    assert len(keys) == 3
    again = fingerprint([AgentPolicy(agent(RULES)).within_rules(buffer)], buffer, {})
    assert again in keys
