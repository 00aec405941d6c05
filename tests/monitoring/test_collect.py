"""The decisions of an agent that plays, and of one that reads recorded episodes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.errors import ConfigError, SpaceError
from seqel.evaluation.rollout import evaluate
from seqel.monitoring.collect import best_scores, play_decisions, recorded_decisions
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, FlatObservation
from seqel.types import Episode
from support import SPACE, network


class Walk(gym.Env[Any, Any]):
    """Numbers that depend on the seed and on the actions; the reward is the action, which counts from 2."""

    observation_space = SPACE
    action_space = gym.spaces.Discrete(3, start=2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.normal(size=3).astype(np.float32)
        self.left = 3 + int(self.np_random.integers(6))
        return self.state, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.state = np.roll(self.state, 1) + np.float32(0.1) * np.float32(action - 3)
        self.left -= 1
        return self.state, float(action), self.left <= 0, False, {}


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent(network(ActionSpec((3,), (2,)), std=0.5))


def alone(agent: Agent, seed: int) -> tuple[np.ndarray, list[float]]:
    """Play one episode by itself.  -> rows of observation, action and q_max; rewards."""
    env, rows, rewards, state, reward, done = Walk(), [], [], None, 0.0, False
    seen, _ = env.reset(seed=seed)
    while not done:
        decision, state = agent.act(seen[None], state, reward=reward)
        rows.append([*seen.tolist(), int(decision.action[0]), float(decision.q[0].max())])
        seen, reward, done, _, _ = env.step(int(decision.action[0]))
        rewards.append(reward)
    return np.array(rows), rewards


def episodes_of(rows: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return sorted(np.split(rows, np.cumsum(lengths)[:-1]), key=lambda one: one[0, 0])


@pytest.mark.parametrize("environments", [1, 4, 32])
def test_play_gives_the_decisions_of_each_episode(agent: Agent, environments: int) -> None:
    found = play_decisions(agent, Walk, 9, seed=5, environments=environments)
    assert len(found.lengths) == 9 and found.rows.shape == (found.lengths.sum(), 5)
    single = [alone(agent, 5 + n) for n in range(9)]
    mine = episodes_of(found.rows, found.lengths)
    for one, other in zip(mine, sorted((rows for rows, _ in single), key=lambda rows: rows[0, 0]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert found.rewards.sum() == pytest.approx(sum(sum(rewards) for _, rewards in single))
    assert found.rewards.sum() == pytest.approx(sum(evaluate(agent, Walk, 9, 5).returns))
    reference = found.reference({"env": "walk"})
    assert reference.episodes == 9 and reference.made == {"env": "walk"} and reference.names[-2:] == ["action", "q_max"]


def test_an_episode_without_end_is_cut(agent: Agent) -> None:
    assert play_decisions(agent, Walk, 5, limit=2).lengths.tolist() == [2] * 5


def recorded(count: int = 70) -> InMemoryDataset:
    rng, episodes = np.random.default_rng(3), []
    for _ in range(count):
        length = int(rng.integers(1, 8))
        episodes.append(
            Episode(
                {"observation": rng.normal(size=(length + 1, 3)).astype(np.float32)}, rng.integers(3, size=(length, 1)),
                rng.normal(size=length).astype(np.float32), True,
            )
        )  # fmt: skip
    agent = Agent(network(ActionSpec((3,), (2,))))
    return InMemoryDataset.of(episodes, agent.observation_spec, agent.action_spec)


def test_reading_follows_the_recorded_actions_and_gives_the_agents_own(agent: Agent) -> None:
    data = recorded()
    found = recorded_decisions(agent, data, 1_000)
    assert len(found.lengths) == 70 and found.lengths.sum() == len(data.buffer)
    columns, numbers = data.buffer.slots.columns, data.buffer.table.numbers
    expected = []
    for slot, length in numbers[:, :2].tolist():
        rows, state = [], None
        for step in range(length):
            at = slot + step
            before = {} if not step else {
                "reward": columns["reward"][at - 1], "previous_action": columns["action"][at - 1].astype(int) + 2,
            }  # fmt: skip
            seen = columns["observation/observation"][at][None]
            decision, state = agent.act(FlatObservation(observation=seen), state, **before)
            rows.append([*seen[0].tolist(), int(decision.action[0]), float(decision.q[0].max())])
        expected.append(np.array(rows))
    for one, other in zip(
        episodes_of(found.rows, found.lengths), sorted(expected, key=lambda rows: rows[0, 0]), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    agrees = (
        found.rows[:, 3] - 2 == np.concatenate([columns["action"][s : s + n, 0] for s, n in numbers[:, :2]])
    ).mean()
    assert agrees < 0.9, "the actions are not the recorded ones"


def test_some_episodes_are_drawn(agent: Agent) -> None:
    few = recorded_decisions(agent, recorded(), 10, seed=1)
    assert len(few.lengths) == 10
    assert not np.array_equal(few.lengths, recorded_decisions(agent, recorded(), 10, seed=2).lengths)


def test_scores_of_one_and_of_several_dimensions() -> None:
    assert best_scores(np.array([[1.0, -np.inf], [2.0, 3.0]])).tolist() == [1, 3]
    assert best_scores(np.array([[[1.0, 2.0], [5.0, -np.inf]]])).tolist() == [3.5]


def test_what_does_not_fit_is_refused(agent: Agent) -> None:
    with pytest.raises(ConfigError, match="at least 1 episode"):
        play_decisions(agent, Walk, 0)
    with pytest.raises(ConfigError, match="at least 1 episode"):
        recorded_decisions(agent, recorded(2), 0)
    with pytest.raises(SpaceError, match="the environment: expected the agent's spaces"):
        play_decisions(agent, lambda: gym.make("CartPole-v1"), 2)
    data = recorded(2)
    other = InMemoryDataset(data.buffer, data.observation, ActionSpec((3,), (0,)))
    with pytest.raises(SpaceError, match="the data: expected the agent's spaces"):
        recorded_decisions(agent, other, 2)
