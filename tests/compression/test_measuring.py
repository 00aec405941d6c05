"""Losses relative to the full agent, hand-worked; histories that every version follows alike; times of the right order."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.compression.measuring import RelativeDrop, agreement, latencies, one_thread, relative_drop
from seqel.compression.tape import decisions, record, recorded_tape
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.layout import Layout
from seqel.types import Episode
from support import Scripted, network


def test_a_drop_is_the_mean_difference_over_the_size_of_the_full_mean() -> None:
    full = np.array([1.0, 1.0, 0.0, 2.0])
    found = relative_drop(full, full - np.array([1.0, 0.5, 0.0, 2.1]))
    assert found.value == pytest.approx(0.1)
    assert found.low <= found.value <= found.high
    negative = relative_drop(-full, np.full(4, 0.1))
    assert negative.value == pytest.approx(0.1)  # 0.1 less than -1 is a loss as well
    assert negative.low > 0.0


def test_equal_returns_lose_nothing_however_noisy_the_episodes_are() -> None:
    """The point of pairs: the spread of the returns cancels."""
    returns = np.random.default_rng(0).normal(1.0, 10.0, 50)
    assert relative_drop(returns, returns - returns) == RelativeDrop(0.0, 0.0, 0.0)


def test_where_the_full_agent_earns_nothing_every_loss_is_infinite() -> None:
    none = np.zeros(5)
    assert relative_drop(none, np.zeros(5)).value == 0.0
    assert relative_drop(none, np.ones(5)).value == math.inf
    assert not relative_drop(none, np.ones(5)).within(0.5)


def test_the_estimate_decides_or_the_whole_interval() -> None:
    drop = RelativeDrop(0.01, -0.02, 0.04)
    assert drop.within(0.02) and not drop.within(0.02, strict=True) and drop.within(0.04, strict=True)


def test_a_tape_holds_what_the_agent_met_and_its_own_decisions() -> None:
    """Scripted shows (environment, episode, step), and rewards 10 * step + action, also in the step after it."""
    agent = Agent(network())
    tape = record(agent, Scripted, seed=3, decisions=160)
    assert len(tape) == 10
    for before, step in pairwise(tape):
        seen = step.observation["observation"]
        assert (step.first == (seen[:, 2] == 0)).all()
        earned = 10.0 * before.observation["observation"][:, 2] + before.taken[:, 0]
        assert (step.reward == np.where(step.first, 0.0, earned)).all()
        assert (step.episode != before.episode).tolist() == step.first.tolist()
    taken = np.stack([step.taken for step in tape])
    assert (decisions(agent, tape) == taken).all()
    other = taken.copy()
    other[:3] = 1 - other[:3] % 2  # other actions in three of ten steps
    share, drop = agreement(tape, other, taken)
    assert share == pytest.approx(0.7) and drop.value == pytest.approx(0.3) and drop.low < 0.3 < drop.high


def test_recorded_episodes_become_rows_in_which_one_follows_another() -> None:
    rng = np.random.default_rng(0)
    lengths = [3, 7, 2, 5, 4] * 8
    episodes = [
        Episode(
            {"observation": rng.standard_normal((n + 1, 3)).astype(np.float32)},
            rng.integers(0, 3, (n, 1)),
            rng.standard_normal(n).astype(np.float32),
            terminated=True,
        )
        for n in lengths
    ]
    agent = Agent(network())
    layout = Layout(agent.observation_spec.storage, 3, recorded=True)
    tape = recorded_tape(EpisodeBuffer.of(layout, episodes), agent.action_spec, decisions=10_000)
    seen = [int(n) for step in tape for n in step.episode if n >= 0]
    assert np.bincount(seen).tolist() == lengths  # every step once
    found = decisions(agent, tape)
    for number, episode in enumerate(episodes):  # as if the agent had followed each episode alone
        state, alone = None, []
        for t in range(len(episode)):
            before = None if t == 0 else episode.action[t - 1]
            reward = 0.0 if t == 0 else episode.reward[t - 1]
            decision, state = agent.act(
                episode.observation["observation"][None, t], state, reward=reward, previous_action=before
            )
            alone.append(int(decision.action[0]))
        rows = np.stack([step.episode for step in tape]) == number
        assert found[..., 0].T[rows.T].tolist() == alone
        assert np.stack([step.taken for step in tape])[..., 0].T[rows.T].tolist() == episode.action[:, 0].tolist()


def test_a_larger_network_takes_longer_and_torch_keeps_its_threads() -> None:
    small, large = Agent(network()), Agent(network(width=256, heads=4, layers=6))
    tape, before = record(small, Scripted, seed=0, decisions=64), torch.get_num_threads()
    found = latencies({"small": small, "large": large}, tape, 5)
    assert 0.0 < found["small"] < found["large"]
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
