"""The whole learner against exact values where an action has two dimensions of different sizes.

Rewards are means over the dimensions and the next state depends on the first one only, so that a mean of the dimensions'
values can be exact. Exact values are computed by dynamic programming over joint actions.
"""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import pytest
import torch

from seqel.losses import targets
from seqel.losses.config import ObjectiveConfig
from seqel.losses.td import action_values
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.types import SequenceBatch

GAMMA = 0.9
SIZES = (3, 2)
JOINT = list(itertools.product(range(3), range(2)))
# state 0 -> state 1 or 2 -> end (3); the last state allows only the first of its second dimension's actions
FIRST = torch.tensor([1.0, -0.5, 0.2]), torch.tensor([0.3, -0.3])
SECOND = [
    (torch.tensor([0.0, 0.5, 0.1]), torch.tensor([0.2, 0.4])),
    (torch.tensor([2.0, 0.0, 1.0]), torch.tensor([-5.0, 9.0])),
]


def next_state(a: int) -> int:
    """1, or 2 after the first dimension's last action."""
    return 2 if a == 2 else 1


def reward(tables: tuple[torch.Tensor, torch.Tensor], action: tuple[int, int]) -> float:
    """The mean over the dimensions."""
    return float(tables[0][action[0]] + tables[1][action[1]]) / 2


def allowed(state: int) -> list[tuple[int, int]]:
    """The joint actions of a state."""
    return [(a, b) for a, b in JOINT if state != 2 or b == 0]


def exact(state: int, action: tuple[int, int]) -> float:
    """Q*, over joint actions."""
    if state > 0:
        return reward(SECOND[state - 1], action)
    after = next_state(action[0])
    return reward(FIRST, action) + GAMMA * max(exact(after, other) for other in allowed(after))


def histories() -> SequenceBatch:
    """Every pair of joint actions that the masks allow."""
    rows = [(one, two) for one in JOINT for two in allowed(next_state(one[0]))]
    states = [[0, next_state(one[0]), 3] for one, _ in rows]
    mask = torch.zeros(len(rows), 3, 2, 3, dtype=torch.bool)
    for row, path in enumerate(states):
        for step, state in enumerate(path):
            for a, b in allowed(state):
                mask[row, step, 0, a] = mask[row, step, 1, b] = True
    first = torch.zeros(len(rows), 3, dtype=torch.bool)
    first[:, 0] = True
    whole = torch.ones(len(rows), 2, dtype=torch.bool)
    earned = [[reward(FIRST, one), reward(SECOND[next_state(one[0]) - 1], two)] for one, two in rows]
    return SequenceBatch(
        observation={"observation": torch.tensor(states)[..., None]},
        action=torch.tensor(rows),
        reward=torch.tensor(earned),
        discount=torch.tensor([[GAMMA, 0.0]]).expand(len(rows), -1),
        is_first=first,
        valid=whole,
        loss_mask=whole,
        start_step=torch.zeros(len(rows), dtype=torch.int64),
        previous_action=torch.zeros(len(rows), 2, dtype=torch.int64),
        previous_reward=torch.zeros(len(rows)),
        action_mask=mask,
        num_learned=2 * len(rows),
    )


def largest_error(updates: int = 180, **network: object) -> float:
    """Train, and return the largest |Q - Q*| over every history and allowed joint action."""
    torch.manual_seed(0)
    config = NetworkConfig(**{"width": 32, "heads": 2, "layers": 1, "context": 3, **network})  # type: ignore[arg-type]
    net = QNetwork(config, ObservationSpec.from_space(gym.spaces.Discrete(4)), ActionSpec(SIZES, (0, 0)))
    learner = Learner(
        net,
        ObjectiveConfig(GAMMA, lambda_=0.0),
        LearnerConfig(learning_rate=3e-3, warmup=20, target_rate=0.05, weight_decay=0.0),
    )
    batch = histories()
    for done in range(updates):
        learner.update(batch, done / updates)
    with torch.no_grad():
        out = learner.network(batch)
    worst = 0.0
    states = batch.observation["observation"][..., 0]
    for action in JOINT:
        value = action_values(out.q[:, :-1], torch.tensor(action).expand(len(states), 2, 2))[..., 0]
        for row, step in itertools.product(range(len(states)), range(2)):
            state = int(states[row, step])
            if action in allowed(state):
                worst = max(worst, abs(float(value[row, step]) - exact(state, action)))
    best = learner.network.scores(out, batch.allowed).argmax(dim=-1)
    for row, step in itertools.product(range(len(states)), range(2)):
        state = int(states[row, step])
        chosen = (int(best[row, step, 0]), int(best[row, step, 1]))
        assert chosen in allowed(state)
    return worst


@pytest.mark.parametrize("network", [{}, {"dueling": True}, {"value": "quantile", "bins": 8}], ids=str)
def test_a_task_with_two_dimensions_is_solved_to_its_exact_values(network: dict[str, Any]) -> None:
    assert largest_error(**network) < 0.1


def test_a_sum_over_dimensions_in_the_target_misses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "mean_over_dimensions", lambda x: x.sum(-1))
    assert largest_error() > 0.3


def test_without_the_second_dimensions_mask_they_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = targets.allowed_actions

    def half(batch: SequenceBatch, online: object) -> torch.Tensor | None:
        mask = right(batch, online)  # type: ignore[arg-type]
        assert mask is not None
        free = mask.clone()
        free[:, :, 1, :2] = True
        return free

    monkeypatch.setattr(targets, "allowed_actions", half)
    assert largest_error() > 0.3
