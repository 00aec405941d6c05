"""Compares an exported agent with the agent on the same histories: real episodes, or random observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.deployment.runtime import ExportedAgent
from seqel.explanation.trace import EpisodeTrace
from seqel.spaces import FlatObservation, Leaf

__all__ = ["Parity", "compare_export", "random_episodes"]

TOLERANCE = 1e-4  # of scores, relative to the largest of their step


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported agent is from the agent."""

    episodes: int
    steps: int
    difference: float  # the largest of a score, relative to the largest score of its step, but at least 1
    agreement: float  # share of steps with the same action

    @property
    def equal(self) -> bool:
        """Whether the scores are equal up to rounding. Actions may then differ only where two actions tie."""
        return self.difference <= TOLERANCE


def compare_export(agent: Agent, exported: ExportedAgent, episodes: Sequence[EpisodeTrace]) -> Parity:
    """Let both read each episode step by step, with the actions that were taken, and compare their scores.

    Masks of the episodes (scores of -inf) apply to both. Episodes have at least one step.
    """
    steps = same = 0
    largest = 0.0
    for episode in episodes:
        one = other = None
        for step in range(len(episode)):
            seen = FlatObservation((path, leaf[step : step + 1]) for path, leaf in episode.observation.items())
            mask = np.isfinite(episode.q[step][None]) if len(episode.q) else None
            taken = None if not step else episode.action[step - 1][None] + agent.action_spec.offset
            given = {
                "reward": None if not step else episode.reward[step - 1 : step],
                "mask": mask,
                "previous_action": taken,
            }
            decided, one = agent.act(seen, one, **given)
            again, other = exported.act(seen, other, **given)
            there = np.isfinite(decided.q)
            scale = max(1.0, float(np.abs(decided.q[there]).max()))
            largest = max(largest, float(np.abs(decided.q[there] - again.q[there]).max()) / scale)
            same += int(np.array_equal(decided.action, again.action))
            steps += 1
    return Parity(len(episodes), steps, largest, same / max(1, steps))


def random_episodes(agent: Agent, count: int, seed: int = 0) -> list[EpisodeTrace]:
    """Return episodes of random observations and actions, three times as long as the context, for want of an environment."""
    rng, spec, actions = np.random.default_rng(seed), agent.observation_spec, agent.action_spec
    steps = min(200, 3 * agent.network.config.context)
    found = []
    for _ in range(count):
        taken = np.stack([rng.integers(size, size=steps) for size in actions.sizes], axis=1)
        found.append(
            EpisodeTrace(
                {leaf.path: _random(leaf, steps + 1, rng) for leaf in spec.leaves},
                taken if actions.dims > 1 else taken[:, 0],
                rng.standard_normal(steps).astype(np.float32),
                np.zeros((0, 0), np.float32),
                None,
            )
        )
    return found


def _random(leaf: Leaf, steps: int, rng: np.random.Generator) -> NDArray[Any]:
    dtype, shape = np.dtype(leaf.dtype), (steps, *leaf.shape)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if leaf.sizes and leaf.kind == "categories" and len(leaf.sizes) == leaf.shape[-1]:
        codes: NDArray[Any] = (rng.random(shape) * np.array(leaf.sizes)).astype(dtype)
        return codes
    most = min(leaf.sizes) if leaf.sizes else 1 + min(255, int(np.iinfo(dtype).max))
    drawn: NDArray[Any] = rng.integers(0, most, shape).astype(dtype)
    return drawn
