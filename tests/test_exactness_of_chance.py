"""Exact optimal values in a stochastic task: a corridor that may end the episode, a noisy reward, a history that matters.

The data contain every possible episode in proportion to its probability, and nothing else. The values therefore have one
correct answer, computed here in float64 by dynamic programming over histories. Agents with a typical bug get the same data
and must miss it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
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
from seqel.types import Episode, SequenceBatch

GAMMA = 0.9
SPEC = ObservationSpec.from_space(gym.spaces.Discrete(5))
LEFT_CUE, RIGHT_CUE, CORRIDOR, JUNCTION, OUTSIDE = range(5)
TOLERANCE = 0.03


@functools.cache
def everything() -> tuple[Episode, ...]:
    """Return every possible episode under uniformly random play, in proportion to its probability: 128 episodes.

    First a cue. The first action pays 0.2 or nothing. The second costs 0.1 or nothing, and with probability 1/4 the
    episode ends in the corridor. At the junction the cued arm pays 1 if the first two actions were the same, else 0.4, and
    the other arm -0.6. A fair coin adds or subtracts 0.25.
    """
    found = []
    for cue, a, b in itertools.product(range(2), repeat=3):
        start = [0.2 * a, -0.1 * b]
        found += [episode([cue, CORRIDOR, OUTSIDE], [a, b], start)] * 4
        for c, coin in itertools.product(range(2), (-0.25, 0.25)):
            prize = (1.0 if a == b else 0.4) if c == cue else -0.6
            found += [episode([cue, CORRIDOR, JUNCTION, OUTSIDE], [a, b, c], [*start, prize + coin])] * 3
    return tuple(found)


def episode(seen: list[int], action: list[int], reward: list[float]) -> Episode:
    return Episode(
        {"observation": np.array(seen)[:, None]}, np.array(action)[:, None], np.array(reward, np.float32), True
    )


History = tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]  # seen (t+1), done (t), earned (t)


def history(part: Episode, t: int) -> History:
    seen = part.observation["observation"][: t + 1, 0].tolist()
    return tuple(seen), tuple(part.action[:t, 0].tolist()), tuple(part.reward[:t].tolist())


@functools.cache
def optimal() -> dict[History, list[float]]:
    """Return Q*(history, action) of every reachable history, longest first."""
    came: dict[History, list[list[tuple[float, History | None]]]] = {}
    for part in everything():
        for t in range(len(part)):
            after = history(part, t + 1) if t + 1 < len(part) else None
            came.setdefault(history(part, t), [[], []])[int(part.action[t, 0])].append((float(part.reward[t]), after))
    values: dict[History, list[float]] = {}
    for past in sorted(came, key=lambda past: -len(past[1])):
        values[past] = [
            float(np.mean([r + (0.0 if after is None else GAMMA * max(values[after])) for r, after in outcomes]))
            for outcomes in came[past]
        ]
    return values


def test_the_values_by_hand() -> None:
    values = optimal()
    assert len(values) == 2 + 4 + 8
    same = history(episode([0, CORRIDOR, JUNCTION, OUTSIDE], [1, 1, 0], [0.2, -0.1, 0.0]), 2)
    assert values[same] == pytest.approx([1.0, -0.6])
    # after a first 1: another 1 leads to 1, at a cost of 0.1; 0 leads to 0.4 and costs nothing; with probability 3/4
    corridor = history(episode([0, CORRIDOR], [1], [0.2]), 1)
    assert values[corridor] == pytest.approx([0.75 * GAMMA * 0.4, -0.1 + 0.75 * GAMMA])
    assert values[(0,), (), ()] == pytest.approx([GAMMA * 0.75 * GAMMA, 0.2 + GAMMA * (-0.1 + 0.75 * GAMMA)])


class Evenly:
    """Replaces a random generator: returns every episode once, so that only the episodes themselves are random."""

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        assert (low, high) == (0, size) == (0, len(everything()))
        return np.arange(size)


Spoil = Callable[[SequenceBatch], SequenceBatch]


def error(
    objective: ObjectiveConfig | None = None,
    *,
    updates: int = 200,
    spoil: Spoil = lambda windows: windows,
    pack: bool = False,
    learner_settings: dict[str, Any] | None = None,
    **network: Any,
) -> float:
    """Train, and return the largest |q - q*| over every history that can be reached."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    replay = Replay(SPEC.storage, 1_000, actions=2)
    for part in everything():
        replay.add(part)
    net = QNetwork(NetworkConfig(**{"width": 32, "heads": 2, "layers": 1, "context": 4, **network}), SPEC, ONE_OF_TWO)
    settings: dict[str, Any] = {"learning_rate": 3e-3, "warmup": 20, "target_rate": 0.05, "weight_decay": 0.0}
    settings |= {"final_fraction": 0.0, **(learner_settings or {})}
    learner = Learner(net, objective or ObjectiveConfig(GAMMA, lambda_=0.0), LearnerConfig(**settings))
    batch: dict[str, Any] = {"window": 4, "context": 4, "discount": GAMMA, "rng": Evenly()}
    for done in range(updates):
        learner.update(spoil(replay.sample(len(everything()), pack=pack, **batch)), done / updates)
    whole = replay.sample(len(everything()), **batch)
    assert whole.episode_index is not None
    with torch.no_grad():
        q = net(whole).q[:, :, 0].numpy()
    worst = 0.0
    for row, index in enumerate(whole.episode_index.tolist()):
        part = everything()[index]
        for t in range(len(part)):
            worst = max(worst, float(np.abs(q[row, t] - optimal()[history(part, t)]).max()))
    return worst


ONE_OF_TWO = ActionSpec((2,), (0,))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pack": True},
        {"trunk": "gru"},
        {"dueling": True, "qk_norm": True},
        {"value": "hl-gauss", "value_range": 3.0, "bins": 61, "layers": 2, "updates": 450},
        {"value": "hl-gauss", "value_range": 3.0, "bins": 61, "trunk": "gru", "updates": 600},
        {"learner_settings": {"target": "copy", "target_every": 15}, "updates": 300},
        {"learner_settings": {"gradient_accumulation_steps": 2}},
    ],
    ids=["default", "packed", "gru", "dueling", "hl-gauss", "hl-gauss-gru", "copied-target", "accumulated"],
)
def test_every_value_is_found(settings: dict[str, Any]) -> None:
    assert error(**settings) < TOLERANCE


def change(**fields: Callable[[SequenceBatch], Any]) -> Spoil:
    return lambda windows: dataclasses.replace(windows, **{name: value(windows) for name, value in fields.items()})


WRONG: dict[str, dict[str, Any]] = {
    "reward off by one": {"spoil": change(reward=lambda w: w.reward.roll(1, dims=1) * w.valid)},
    "bootstrapping through termination": {"spoil": change(discount=lambda w: GAMMA * w.valid)},
    "a step discounted twice": {"spoil": change(discount=lambda w: w.discount.square())},
    "the last step not learned": {"spoil": change(loss_mask=lambda w: w.loss_mask & (w.discount > 0))},
    "actions off by one": {"spoil": change(action=lambda w: w.action.roll(1, dims=1))},
    "the target never moves": {"learner_settings": {"target": "copy", "target_every": 10_000}},
    "no memory of actions": {"previous_action": False, "previous_reward": False},
    "a context too short": {"context": 1},
    "long returns of random play": {"objective": ObjectiveConfig(GAMMA, lambda_=0.9, trace="peng")},
}


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_agent_misses_them(bug: str) -> None:
    assert error(**WRONG[bug]) > 3 * TOLERANCE
