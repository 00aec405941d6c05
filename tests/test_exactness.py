"""The whole learner against exact optimal values: a task where history decides, and one that never ends.

Values are computed by dynamic programming over histories. The learner gets every history, not chosen by its own policy, and
has to find the same numbers. A learner without history, or one that treats a truncation as a termination, cannot.
"""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.replay.buffer import Replay
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.types import Episode

GAMMA = 0.9
SPEC = ObservationSpec.from_space(gym.spaces.Discrete(5))  # cue 0, cue 1, corridor, junction, end


def cue_episodes() -> list[Episode]:
    """Return every history: a cue, a first action that may double the last reward, a corridor, a choice."""
    found = []
    for cue, a, b, c in itertools.product(range(2), repeat=4):
        reward = [0.0, 0.1 * b, (1.0 if c == cue else -0.5) * (1 + a)]
        seen = np.array([[cue], [2], [3], [4]])
        found.append(
            Episode({"observation": seen}, np.array([[a], [b], [c]]), np.array(reward, np.float32), terminated=True)
        )
    return found


def cue_values(episode: Episode) -> np.ndarray:
    """Q* at the three steps of a history.  -> (3, 2)."""
    cue, a = int(episode.observation["observation"][0, 0]), int(episode.action[0, 0])

    def at_junction(first: int) -> list[float]:
        return [(1.0 if c == cue else -0.5) * (1 + first) for c in range(2)]

    def in_corridor(first: int) -> list[float]:
        return [0.1 * b + GAMMA * max(at_junction(first)) for b in range(2)]

    return np.array([[GAMMA * max(in_corridor(first)) for first in range(2)], in_corridor(a), at_junction(a)])


def learner_for(replay_spec: ObservationSpec, context: int, objective: ObjectiveConfig, **network: Any) -> Learner:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = NetworkConfig(**{"width": 32, "heads": 2, "layers": 1, "context": context, **network})
    net = QNetwork(config, replay_spec, ActionSpec((2,), (0,)))
    return Learner(net, objective, LearnerConfig(learning_rate=3e-3, warmup=20, target_rate=0.05, weight_decay=0.0))


def cue_error(objective: ObjectiveConfig, updates: int = 240, **network: Any) -> float:
    """Train, and return the largest |q - q*| over every history and action."""
    replay = Replay(SPEC.storage, 200, actions=2)
    for episode in cue_episodes():
        replay.add(episode)
    learner = learner_for(SPEC, network.pop("context", 4), objective, **network)
    rng = np.random.default_rng(0)
    for done in range(updates):
        learner.update(replay.sample(32, window=4, context=4, discount=GAMMA, rng=rng), done / updates)
    worst = 0.0
    whole = replay.sample(400, window=4, context=4, discount=GAMMA, rng=rng)
    with torch.no_grad():
        q = learner.network(whole).q[:, :3, 0].numpy()
    episodes = cue_episodes()
    assert whole.episode_index is not None
    assert len(set(whole.episode_index.tolist())) == 16, "every history is checked"
    for row, index in enumerate(whole.episode_index.tolist()):
        worst = max(worst, float(np.abs(q[row] - cue_values(episodes[index])).max()))
    return worst


ONE_STEP = ObjectiveConfig(GAMMA, lambda_=0.0)


@pytest.mark.parametrize(
    ("objective", "network"),
    [
        (ONE_STEP, {}),
        (ONE_STEP, {"dueling": True}),
        (ONE_STEP, {"trunk": "gru", "updates": 320}),
        (
            ONE_STEP,
            {"value": "hl-gauss", "value_range": 3.0, "bins": 61, "updates": 1_000},
        ),  # learns more slowly at first
        (ONE_STEP, {"value": "c51", "value_range": 3.0, "bins": 61, "updates": 600}),
        (ONE_STEP, {"value": "quantile", "bins": 11}),
        (ObjectiveConfig(GAMMA, lambda_=0.0, double=False, td_loss="huber"), {}),
        (ObjectiveConfig(GAMMA, lambda_=0.9, trace="watkins"), {"updates": 320}),
    ],
    ids=["default", "dueling", "gru", "hl-gauss", "c51", "quantile", "huber", "watkins"],
)
def test_a_task_with_memory_is_solved_to_its_exact_values(objective: ObjectiveConfig, network: dict[str, Any]) -> None:
    assert cue_error(objective, **network) < 0.03


def test_without_history_the_same_learner_misses_them() -> None:
    blind = {"context": 1, "previous_action": False, "previous_reward": False, "first_step": False, "clock": False}
    assert cue_error(ONE_STEP, 120, **blind) > 0.5


def test_a_task_that_never_ends_is_bootstrapped_through_its_truncations() -> None:
    """Two states; action a leads to state a; leaving state 1 by action 0 pays 1. Episodes are cut at 12 steps.

    Q*(1,0) = 1 + 0.9 V(0), V(0) = 0.9 V(1), so V(1) = 1 / (1 - 0.81).
    """
    spec = ObservationSpec.from_space(gym.spaces.Discrete(2))
    top = 1 / (1 - GAMMA**2)
    exact = np.array([[GAMMA**2 * top, GAMMA * top], [top, GAMMA * top]])
    replay = Replay(spec.storage, 5_000, actions=2)
    rng = np.random.default_rng(1)
    for _ in range(60):
        action = rng.integers(0, 2, 12)
        state = np.concatenate([[rng.integers(2)], action])
        reward = ((state[:-1] == 1) & (action == 0)).astype(np.float32)
        replay.add(Episode({"observation": state[:, None]}, action[:, None], reward, truncated=True))
    learner = learner_for(spec, 3, ONE_STEP)
    learner.rescale(3.0)
    for done in range(700):
        learner.update(replay.sample(16, window=8, context=3, discount=GAMMA, rng=rng, pack=True), done / 700)
    windows = replay.sample(64, window=8, context=3, discount=GAMMA, rng=rng)
    with torch.no_grad():
        q = learner.network(windows).q[:, :, 0].numpy()
    state = windows.observation["observation"][..., 0].numpy()
    assert np.abs(q - exact[state])[:, 3:].max() < 0.15, "3 % of the largest value"
