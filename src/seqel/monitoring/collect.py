"""The decisions that a reference is made of: an agent plays its environment, or reads recorded episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.agents.matching import require_equal_spaces
from seqel.agents.reading import read_episodes
from seqel.environments.seeds import require_for_reports
from seqel.environments.vector import VectorStream, close_vector, make_vector
from seqel.monitoring.features import FeatureMap, feature_map
from seqel.monitoring.reference import Reference
from seqel.spaces import ActionSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.environments.resolve import EnvMaker
    from seqel.training.sources import Source

__all__ = ["Decisions", "best_scores", "play_decisions", "recorded_decisions"]

LONGEST = 100_000  # steps per episode


def best_scores(q: NDArray[Any]) -> NDArray[np.float64]:
    """Return q_max: the score of the chosen action, (R,) from (R, A); the mean over the dimensions from (R, M, A)."""
    best = np.asarray(q, np.float64).max(axis=-1)
    return best if best.ndim == 1 else np.asarray(best.mean(axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions of whole episodes, N in all, episode by episode."""

    features: FeatureMap
    rows: NDArray[np.float64]  # (N, F)
    rewards: NDArray[np.float64]  # (N,) after each decision
    lengths: NDArray[np.int64]  # (E,)

    def reference(self, made: dict[str, Any] | None = None) -> Reference:
        """Describe them. made: what they are from."""
        return Reference.from_rows(self.features, self.rows, self.lengths, self.rewards, made)


class _Collected:
    """Collects the rows of episodes that are played together."""

    def __init__(self) -> None:
        self._open: dict[int, list[tuple[NDArray[np.float64], float]]] = {}
        self.rows: list[NDArray[np.float64]] = []
        self.rewards: list[float] = []
        self.lengths: list[int] = []

    def add(self, episode: int, row: NDArray[np.float64], reward: float) -> None:
        self._open.setdefault(episode, []).append((row, reward))

    def end(self, episode: int) -> None:
        steps = self._open.pop(episode)
        self.rows += [row for row, _ in steps]
        self.rewards += [reward for _, reward in steps]
        self.lengths.append(len(steps))

    def decisions(self, features: FeatureMap) -> Decisions:
        return Decisions(features, np.stack(self.rows), np.array(self.rewards), np.array(self.lengths))


def play_decisions(
    agent: Agent,
    make: EnvMaker,
    episodes: int,
    seed: int = 0,
    *,
    environments: int = 32,
    limit: int = LONGEST,
    progress: Callable[[int], None] | None = None,
) -> Decisions:
    """Play greedy episodes, as `seqel.evaluate` does, and return their decisions.

    Episode n is reset with seed + n. An episode that has not ended after `limit` steps is truncated there.

    Raises:
        ConfigError: no episodes, or seeds of 2^30 or more. SpaceError: the environment has other spaces than the agent.
    """
    require_for_reports(seed, episodes, limit)
    features, collected = feature_map(agent), _Collected()
    count = min(environments, episodes)
    envs = make_vector(make, count)
    try:
        spec, action = agent.observation_spec, ActionSpec.from_space(envs.single_action_space)
        found = (spec.same_reading(envs.single_observation_space), action)
        require_equal_spaces("the environment", found, "the agent's spaces", (spec, agent.action_spec))
        stream = VectorStream(envs, spec, action)
        stream.reset([seed + row for row in range(count)])
        number, age, following = np.arange(count), np.zeros(count, np.int64), count
        state, reward = None, np.zeros(count, np.float32)
        while (number < episodes).any():
            current = stream.current
            decision, state = agent.act(current, state, reward=reward, first=stream.first, mask=stream.mask)
            rows = features.rows(current, decision.action, best_scores(decision.q))
            result = stream.step(decision.action - agent.action_spec.offset)
            reward = result.reward.astype(np.float32)
            for row in np.flatnonzero(number < episodes).tolist():
                collected.add(int(number[row]), rows[row], float(reward[row]))
            age += 1
            over = result.ended | (age >= limit)
            for row in np.flatnonzero(over).tolist():
                if number[row] < episodes:
                    collected.end(int(number[row]))
                number[row] = following
                following += 1
            if over.any():
                seeds = [seed + min(int(number[row]), episodes - 1) if over[row] else None for row in range(count)]
                stream.reset(seeds, over)
                age[over], reward[over] = 0, 0.0
                if progress is not None:
                    progress(len(collected.lengths))
    finally:
        close_vector(envs)
    return collected.decisions(features)


def recorded_decisions(
    agent: Agent,
    source: Source,
    episodes: int,
    seed: int = 0,
    *,
    progress: Callable[[int], None] | None = None,
) -> Decisions:
    """Let the agent read recorded episodes, and return what it would have decided at each step.

    Its memory follows the recorded actions. The features of actions and scores are the agent's own, because the recorded
    actions are those of another policy.

    Args:
        episodes: how many are read, at most, drawn at random with `seed`.

    Raises SpaceError: the data have other spaces than the agent.
    """
    given = (source.observation, source.action)
    require_equal_spaces("the data", given, "the agent's spaces", (agent.observation_spec, agent.action_spec))
    features, collected = feature_map(agent), _Collected()
    for step in read_episodes(agent, source.buffer, episodes, seed):
        rows = features.rows(step.seen, step.decision.action, best_scores(step.decision.q))
        for row, episode in enumerate(step.episode.tolist()):
            collected.add(episode, rows[row], float(step.reward[row]))
            if step.last[row]:
                collected.end(episode)
        if progress is not None and step.last.any():
            progress(len(collected.lengths))
    return collected.decisions(features)
