"""Which windows the replay draws and how often, and their edges: burn-in, padding, ends of episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqel.data.replay import Replay
from seqel.data.storage import window_units
from seqel.errors import ConfigError, DataError
from seqel.types import Episode, SequenceBatch

GAMMA = 0.9


def numbered(length: int, start: int = 0, terminated: bool = False) -> Episode:
    """Observation i is start + i, the action i % 3, the reward i."""
    return Episode(
        observation={"observation": np.arange(start, start + length + 1, dtype=np.float32)[:, None]},
        action=(np.arange(length) % 3)[:, None],
        reward=np.arange(length, dtype=np.float32),
        terminated=terminated,
        truncated=not terminated,
        start=start,
        previous_action=np.array([2]) if start else None,
        previous_reward=-7.0 if start else 0.0,
    )


def simple(capacity: int) -> Replay:
    return Replay({"observation": ((1,), np.dtype(np.float32))}, capacity, actions=3)


def draw(
    memory: Replay, batch: int, window: int, context: int, seed: int = 0, pad_to: int | None = None
) -> SequenceBatch:
    rng = np.random.default_rng(seed)
    return memory.sample(batch, window=window, context=context, discount=GAMMA, rng=rng, pad_to=pad_to)


def test_drawn_steps_follow_the_units() -> None:
    """A chi-square bound: long, short and segment together, each step learnt in proportion to its units."""
    window, context, batch, rounds = 8, 3, 64, 400
    lengths, starts = [5, 40, 8, 13, 2, 3, 9], [0, 0, 0, 5, 0, 6, 0]
    memory = simple(200)
    for length, start in zip(lengths, starts, strict=True):
        memory.add(numbered(length, start))
    windows: dict[tuple[int, int], int] = {}
    for n in range(rounds):
        drawn = draw(memory, batch, window, context, seed=n)
        for key in zip(drawn.index.tolist(), drawn.start.tolist(), strict=True):
            windows[key] = windows.get(key, 0) + 1
    expected: dict[tuple[int, int], int] = {}
    for serial, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        for unit in range(int(window_units(np.array([length]), np.array([start]), window, context)[0])):
            key = (serial, start + min(max(unit - (window - context) + 1, 0), max(length - window, 0)))
            expected[key] = expected.get(key, 0) + 1
    assert set(windows) == set(expected)
    assert 5 not in {serial for serial, _ in windows}
    scale = batch * rounds / sum(expected.values())
    square = sum((windows[key] - scale * units) ** 2 / (scale * units) for key, units in expected.items())
    freedom = len(expected) - 1
    assert abs(square - freedom) < 5 * (2 * freedom) ** 0.5  # fixed seeds: it either holds or does not


def test_short_episodes_are_uniform_by_episode() -> None:
    memory = simple(1000)
    for length in (1, 2, 5, 10, 10, 3, 7, 10):
        memory.add(numbered(length))
    counts = np.bincount(draw(memory, 80_000, 10, 5).index.numpy(), minlength=8)
    assert (np.abs(counts - 10_000) < 500).all()  # five standard deviations


def test_burn_in() -> None:
    memory = simple(200)
    memory.add(numbered(60))
    batch = draw(memory, 256, 10, 4)
    inside = batch.start > 0
    assert inside.any()
    assert (~inside).any()
    assert not batch.learn[inside, :4].any()
    assert batch.learn[inside, 4:].all()
    assert batch.learn[~inside].all()
    assert torch.equal(batch.first[:, 0], ~inside)
    assert not batch.first[:, 1:].any()

    memory.add(numbered(8, start=90))  # a short segment: burn-in at its very start, what stood before from the episode
    batch = draw(memory, 256, 10, 4)
    segment = batch.index == 1
    assert segment.any()
    assert (batch.start[segment] == 90).all()
    assert not batch.learn[segment, :4].any()
    assert batch.learn[segment, 4:8].all()
    assert not batch.first[segment].any()
    assert (batch.previous_action[segment] == 2).all()
    assert (batch.previous_reward[segment] == -7.0).all()


def test_a_window_no_longer_than_the_context_needs_whole_episodes() -> None:
    memory = simple(200)
    memory.add(numbered(5))
    memory.add(numbered(10))
    assert draw(memory, 64, 10, 10).learn.sum() == draw(memory, 64, 10, 10).valid.sum()  # all start at the start
    memory.add(numbered(11))
    with pytest.raises(ConfigError, match="window > context"):
        draw(memory, 4, 10, 10)
    with pytest.raises(ConfigError, match="window > context"):  # again: the refused rows are looked at anew
        draw(memory, 4, 10, 10)
    draw(memory, 4, 11, 10)


def test_nothing_to_learn_from() -> None:
    memory = simple(50)
    with pytest.raises(DataError, match="add episodes first"):
        draw(memory, 4, 10, 5)
    memory.add(numbered(5, start=3))
    with pytest.raises(DataError, match="burn-in of 5"):
        draw(memory, 4, 10, 5)
    memory.add(numbered(6, start=3))
    batch = draw(memory, 4, 10, 5)
    assert (batch.index == 1).all()
    assert batch.learned == 4


def test_padding_and_pad_to() -> None:
    memory = simple(200)
    memory.add(numbered(3))
    batch = draw(memory, 2, 10, 5)
    assert batch.reward.shape == (2, 3)  # trimmed to the longest
    batch = draw(memory, 2, 10, 5, pad_to=12)
    assert batch.reward.shape == (2, 12)
    assert batch.first.shape == (2, 13)
    assert batch.observation["observation"][0, :, 0].tolist() == [0, 1, 2] + [3] * 10
    assert batch.valid[0].tolist() == [True] * 3 + [False] * 9
    assert batch.reward[0].tolist() == [0, 1, 2] + [0] * 9
    assert batch.action[0, :, 0].tolist() == [0, 1, 2] + [0] * 9
    memory.add(numbered(50))
    with pytest.raises(ConfigError, match="pad_to"):
        draw(memory, 64, 10, 5, pad_to=9)
    batch = draw(memory, 64, 10, 5, pad_to=14)  # a full window inside an episode: what follows it must not leak in
    assert not batch.reward[:, 10:].any()
    assert not batch.action[:, 10:].any()
    assert not batch.learn[:, 10:].any()
    last = batch.observation["observation"][:, 10:, 0]
    assert (last == last[:, :1]).all()
    assert not batch.discount[:, 10:].any()


def test_terminated_and_truncated() -> None:
    for terminated in (True, False):
        memory = simple(200)
        memory.add(numbered(30, terminated=terminated))
        batch = draw(memory, 256, 10, 5)
        at_end = batch.start == 20
        assert at_end.any()
        assert (~at_end).any()
        assert (batch.discount[~at_end] == np.float32(GAMMA)).all()
        assert (batch.discount[at_end, :-1] == np.float32(GAMMA)).all()
        assert (batch.discount[at_end, -1] == (0.0 if terminated else np.float32(GAMMA))).all()


def test_a_batch_is_a_copy() -> None:
    memory = simple(50)
    memory.add(numbered(20))
    before = draw(memory, 8, 10, 5)
    for tensor in (before.observation["observation"], before.reward, before.action, before.learn):
        tensor.zero_()
    assert draw(memory, 8, 10, 5).reward.sum() > 0


@pytest.mark.parametrize(
    "settings",
    [{"batch": 0}, {"window": 0}, {"context": -1}, {"discount": 1.5}, {"discount": float("nan")}],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    memory = simple(50)
    memory.add(numbered(20))
    asked = {"batch": 4, "window": 10, "context": 5, "discount": 0.9} | settings
    with pytest.raises(ConfigError):
        memory.sample(asked.pop("batch"), rng=np.random.default_rng(0), **asked)
    with pytest.raises(ConfigError):
        simple(1)
