"""Episodes with one random action: all others are the agent's, and values are those of the actions that were taken."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.environments.vector import StepResult
from seqel.evaluation.recording import play_recorded
from seqel.evaluation.rollout import play
from seqel.spaces import ActionSpec
from seqel.training.config import RunConfig
from seqel.types import Decision
from support import network
from support_safety import Desk

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import q_calibration
from q_calibration import OneRandomAction, measure, play_from_random_action, row


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent(network(ActionSpec((4,), (0,))), {"env": "support_safety:Desk", "discount": 0.9})


def test_one_action_of_each_episode_is_random_and_the_agent_knows_it(agent: Agent) -> None:
    """Replayed with `previous_action`, the agent chooses what was taken at every other step."""
    acting = OneRandomAction(agent, np.full(5, 12), seed=0)
    taken: list[list[Any]] = [[] for _ in range(8)]
    seen: list[np.ndarray] = []
    given = acting.act

    def spy(observation: Any, *rest: Any, **named: Any) -> Any:
        seen.append(np.asarray(observation["observation"]).copy())
        return given(observation, *rest, **named)

    acting.act = spy  # type: ignore[method-assign]

    def watch(rows: np.ndarray, decision: Decision, outcome: StepResult) -> None:
        for at in np.flatnonzero(rows >= 0).tolist():
            known = int(decision.action[at]), int(acting.chosen[at]), seen[-1][at], acting.values[at, 0]
            taken[int(rows[at])].append((*known, float(outcome.reward[at])))

    play(acting, Desk, 8, 0, 4, None, 100, watch)
    chosen = [episode[0][1] for episode in taken]
    assert all(len(episode) == 12 for episode in taken) and len(set(chosen)) > 3
    random_ones = 0
    for episode in taken:
        state, last, reward = None, 0, 0.0
        for step, (action, at, observation, values, earned) in enumerate(episode):
            before = {} if step == 0 else {"previous_action": [last], "reward": [reward]}
            decision, state = agent.act(observation[None], state, **before)
            np.testing.assert_allclose(decision.q[0], values, atol=1e-5)
            assert step == at or decision.action[0] == action
            random_ones += decision.action[0] != action
            last, reward = action, earned
    assert 3 <= random_ones <= 8


def test_only_the_random_step_and_those_after_it_are_kept(agent: Agent) -> None:
    greedy = play_recorded(agent, Desk, 30)
    found = play_from_random_action(agent, Desk, greedy, 30)
    assert len(found.lengths) == 30 and found.terminated.all()
    assert found.lengths.min() >= 1 and found.lengths.max() <= 12 and len(set(found.lengths.tolist())) > 6
    assert len(found.q) == len(found.reward) == found.lengths.sum()


def test_a_run_becomes_a_line_of_the_table(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.save(tmp_path / "agent")
    monkeypatch.setattr(q_calibration, "read_run_config", lambda folder, trust: RunConfig(env="support_safety:Desk"))
    found = measure(tmp_path, 20, 0)
    assert found["greedy"]["steps"] == 240 and 20 <= found["random"]["steps"] < 240
    assert row("run", found, "random").count("|") == 10
