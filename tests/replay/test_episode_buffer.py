"""Recorded episodes: the same batches as a replay gives, and batches that contain every transition once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from seqel.errors import DataError
from seqel.replay.buffer import Replay
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.in_memory_dataset import split_rows
from seqel.replay.layout import Layout
from seqel.types import Episode

LEAVES: dict[str, tuple[tuple[int, ...], Any]] = {"x": ((2,), np.dtype(np.float32))}
LAYOUT = Layout(LEAVES, 3, recorded=True)


def episode(rng: np.random.Generator, steps: int, number: int = 0) -> Episode:
    seen = np.stack([np.full(steps + 1, number), np.arange(steps + 1)], axis=1).astype(np.float32)
    chance = np.where(rng.random(steps) < 0.5, np.nan, 0.25).astype(np.float32)
    return Episode(
        {"x": seen}, rng.integers(0, 3, (steps, 1)), rng.normal(size=steps).astype(np.float32),
        terminated=bool(number % 2), truncated=not number % 2, behaviour_prob=chance,
    )  # fmt: skip


def some(count: int = 12, longest: int = 30, seed: int = 0) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return [episode(rng, int(rng.integers(1, longest)), number) for number in range(count)]


@pytest.mark.parametrize("pack", [False, True])
def test_the_batches_are_those_of_a_replay(pack: bool) -> None:
    episodes = some()
    recorded = EpisodeBuffer.of(LAYOUT, episodes)
    replay = Replay(LEAVES, 1_000, actions=3)
    for one in episodes:
        replay.add(one)
    draws = [
        store.sample(16, window=10, context=4, discount=0.9, rng=np.random.default_rng(3), pack=pack)
        for store in (recorded, replay)
    ]
    for name in (
        "action",
        "reward",
        "discount",
        "is_first",
        "valid",
        "loss_mask",
        "start_step",
        "previous_action",
        "episode_index",
    ):
        torch.testing.assert_close(getattr(draws[0], name), getattr(draws[1], name))
    torch.testing.assert_close(draws[0].observation["x"], draws[1].observation["x"])
    assert draws[0].first_visit is None and draws[0].behaviour_prob is not None and draws[1].behaviour_prob is None


@pytest.mark.parametrize(("window", "context"), [(40, 5), (10, 4), (7, 6)])
def test_batches_train_every_transition_exactly_once(window: int, context: int) -> None:
    episodes = some()
    recorded = EpisodeBuffer.of(LAYOUT, episodes)
    seen: dict[tuple[int, int], float] = {}
    for batch in recorded.batches(window=window, context=context, discount=0.9, tokens=64):
        assert batch.episode_index is not None
        for row, step in batch.loss_mask.nonzero().tolist():
            key = int(batch.episode_index[row]), int(batch.start_step[row]) + step
            assert key not in seen
            seen[key] = float(batch.reward[row, step])
            assert batch.observation["x"][row, step].tolist() == list(key)
            assert step >= (context if batch.start_step[row] else 0)
    expected = {(n, t): float(one.reward[t]) for n, one in enumerate(episodes) for t in range(len(one))}
    assert seen == pytest.approx(expected)
    assert len(recorded) == len(expected)


def test_batches_need_windows_longer_than_their_burn_in() -> None:
    recorded = EpisodeBuffer.of(LAYOUT, some())
    with pytest.raises(DataError, match="window > context"):
        next(recorded.batches(window=5, context=5, discount=0.9))


def test_a_subset_shares_columns_or_has_copies() -> None:
    episodes = some()
    recorded = EpisodeBuffer.of(LAYOUT, episodes)
    rows = np.array([7, 2, 9])
    shared, copied = recorded.subset(rows), recorded.copy_subset(rows)
    assert np.shares_memory(shared.slots.columns["reward"], recorded.slots.columns["reward"])
    assert copied.slots.capacity == sum(len(episodes[row]) + 1 for row in rows)
    for part in (shared, copied):
        assert part.lengths.tolist() == [len(episodes[row]) for row in rows]
        assert part.returns(0.9) == pytest.approx(
            [float((0.9 ** np.arange(len(episodes[row])) * episodes[row].reward).sum()) for row in rows], rel=1e-5
        )
        assert part.actions()[:, 0].tolist() == [a for row in rows for a in episodes[row].action[:, 0].tolist()]
        np.testing.assert_array_equal(part.behaviour(), np.concatenate([episodes[row].behaviour_prob for row in rows]))


def test_a_single_episode_is_enough() -> None:
    assert EpisodeBuffer.of(LAYOUT, some(1)).episodes == 1


def test_the_action_and_reward_before_an_episode_are_kept() -> None:
    """Segments: the action and the reward before each, in a part that shares columns and in a copy."""
    before = [(1, 0.5), (2, -3.0), (0, 7.25)]
    rng = np.random.default_rng(0)
    episodes = [
        dataclasses.replace(
            episode(rng, 4, number), start_step=9, previous_action=np.array([action]), previous_reward=reward
        )
        for number, (action, reward) in enumerate(before)
    ]
    recorded = EpisodeBuffer.of(LAYOUT, episodes)
    rows = np.array([2, 1])
    for part in (recorded.subset(rows), recorded.copy_subset(rows)):
        assert part.table.previous_reward.tolist() == [7.25, -3.0]
        (windows,) = part.batches(window=8, context=1, discount=0.9)
        assert windows.previous_reward.tolist() == [7.25, -3.0] and windows.previous_action.tolist() == [[0], [2]]


def test_episodes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="at least one episode"):
        EpisodeBuffer.of(LAYOUT, [])
    recorded = EpisodeBuffer.of(LAYOUT, some())
    with pytest.raises(DataError, match="expected the columns"):
        EpisodeBuffer(Layout(LEAVES, 3), recorded.slots.columns, recorded.table.numbers)
    wrong = some()[0]
    object.__setattr__(wrong, "behaviour_prob", np.full(len(wrong), 1.5, np.float32))
    with pytest.raises(DataError, match=r"behaviour_prob in \(0, 1\]"):
        EpisodeBuffer.of(LAYOUT, [wrong])


def test_a_split_leaves_neither_part_empty() -> None:
    learned, held = split_rows(np.random.default_rng(0).random(100), 0.1)
    assert len(held) == 10 and sorted([*learned, *held]) == list(range(100))
    for share in (0.001, 0.999):
        learned, held = split_rows(np.array([0.5, 0.1]), share)
        assert len(learned) == len(held) == 1
    with pytest.raises(DataError, match="at least 2 sessions"):
        split_rows(np.array([0.5]), 0.1)
