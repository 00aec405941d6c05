"""Prioritised sampling: frequencies equal the stated probabilities, weights correct them exactly, no dead step is drawn."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.replay.buffer import Replay
from seqel.replay.ring import EpisodeTable
from seqel.replay.windows import LEAST, draw_uniform, even_units
from seqel.types import Episode

LEAVES: dict[str, tuple[tuple[int, ...], Any]] = {"x": ((), np.dtype(np.float32))}
WINDOW, CONTEXT = 6, 2


def episode(length: int, start: int = 0, own: Any = None) -> Episode:
    before: dict[str, Any] = {"previous_action": np.zeros(1, np.int64)} if start else {}
    return Episode(
        {"x": np.arange(length + 1, dtype=np.float32)},
        np.zeros((length, 1), np.int64),
        np.zeros(length, np.float32),
        start_step=start,
        by_agent=own,
        **before,
    )


def replay(*lengths: int, capacity: int = 200, alpha: float = 0.6) -> Replay:
    memory = Replay(LEAVES, capacity, actions=2, priority_exponent=alpha, context=CONTEXT)
    for length in lengths:
        memory.add(episode(length))
    return memory


def draw(
    memory: Replay, count: int, rng: np.random.Generator, importance_exponent: float = 1.0, **settings: Any
) -> Any:
    return memory.sample(
        count,
        window=WINDOW,
        context=CONTEXT,
        discount=0.9,
        rng=rng,
        importance_exponent=importance_exponent,
        **settings,
    )


def spread(memory: Replay, rng: np.random.Generator) -> None:
    """Priorities that differ by orders of magnitude."""
    for _ in range(20):
        batch = draw(memory, 16, rng)
        memory.update_priorities(batch, np.asarray(10.0 ** rng.uniform(-2, 2, batch.reward.shape)))


def windows_of(memory: Replay) -> tuple[np.ndarray, np.ndarray]:
    """Return all possible windows: numbers (N, ...) and offset (N,)."""
    numbers = memory._table.numbers
    last = np.maximum(numbers[:, EpisodeTable.LENGTH] - WINDOW, 0)
    rows = np.repeat(np.arange(len(numbers)), last + 1)
    return numbers[rows], np.concatenate([np.arange(n + 1) for n in last])


def test_probabilities_of_all_windows_sum_to_one_and_are_the_frequencies() -> None:
    rng = np.random.default_rng(0)
    memory = replay(3, 6, 7, 9, 20, 1)
    memory.add(episode(12, start=30))
    spread(memory, rng)
    assert memory._priorities is not None
    numbers, offset = windows_of(memory)
    stated = memory._priorities.probability(numbers, offset, WINDOW)
    assert stated.sum() == pytest.approx(1.0)
    drawn = memory._priorities.draw(memory._table, 200_000, WINDOW, 1.0, rng)
    seen = Counter(zip(drawn.numbers[:, EpisodeTable.SLOT].tolist(), drawn.offset.tolist(), strict=True))
    counts = np.array([seen[slot, at] for slot, at in zip(numbers[:, EpisodeTable.SLOT].tolist(), offset, strict=True)])
    assert counts.sum() == 200_000
    deviation = np.sqrt(200_000 * stated * (1 - stated)) + 1.0
    assert (np.abs(counts - 200_000 * stated) < 5 * deviation).all()


def test_weights_correct_the_prioritised_draw_exactly() -> None:
    rng = np.random.default_rng(1)
    memory = replay(3, 6, 7, 9, 20)
    spread(memory, rng)
    assert memory._priorities is not None
    numbers, offset = windows_of(memory)
    units = even_units(numbers[:, EpisodeTable.LENGTH], offset, WINDOW, CONTEXT)
    drawn = draw_uniform(memory._table, 200_000, WINDOW, CONTEXT, rng)
    seen = Counter(zip(drawn.numbers[:, EpisodeTable.SLOT].tolist(), drawn.offset.tolist(), strict=True))
    counts = np.array([seen[slot, at] for slot, at in zip(numbers[:, EpisodeTable.SLOT].tolist(), offset, strict=True)])
    even = units / units.sum()  # `even_units` describes what `draw_uniform` does
    assert (np.abs(counts - 200_000 * even) < 5 * np.sqrt(200_000 * even) + 5).all()
    stated = memory._priorities.probability(numbers, offset, WINDOW)
    few = memory._priorities.draw(memory._table, 500, WINDOW, 1.0, rng)
    assert few.weight is not None and few.weight.max() == 1.0
    where = {(int(n[0]), int(o)): i for i, (n, o) in enumerate(zip(numbers, offset, strict=True))}
    at = np.array([where[int(n[0]), int(o)] for n, o in zip(few.numbers, few.offset, strict=True)])
    ratio = (even / stated)[at]
    np.testing.assert_allclose(few.weight, ratio / ratio.max(), rtol=1e-5)
    half = memory._priorities.draw(memory._table, 500, WINDOW, 0.0, rng)
    assert half.weight is not None and bool(np.all(half.weight == 1.0))


def test_the_burn_in_of_a_segment_has_no_priority() -> None:
    memory = replay(3)
    memory.add(episode(6, start=30, own=np.array([True, True, True, False, True, True])))
    assert memory._priorities is not None
    # 3 transitions and an end; then 2 steps of burn-in, one that is learned, one that is not the agent's own, two, an end
    assert memory._priorities.tree.get(np.arange(11)).tolist() == [1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0]


def test_a_step_with_a_large_error_is_trained_more_often_according_to_alpha() -> None:
    rng = np.random.default_rng(2)
    memory = replay(5, 5, alpha=0.5)
    batch = draw(memory, 64, rng)
    error = np.where(batch.episode_index.numpy()[:, None] == 0, 1.0, 16.0) * np.ones(batch.reward.shape)
    memory.update_priorities(batch, error)
    index = draw(memory, 40_000, rng).episode_index.numpy()
    expected = (16.0 + LEAST) ** 0.5 / ((16.0 + LEAST) ** 0.5 + (1.0 + LEAST) ** 0.5)
    assert index.mean() == pytest.approx(expected, abs=0.01)


def test_only_live_and_learnable_steps_are_drawn_while_the_ring_turns() -> None:
    rng = np.random.default_rng(3)
    memory = replay(capacity=60)
    own = np.ones(8, bool)
    own[3] = False
    for n in range(200):
        memory.add(episode(int(rng.integers(3, 20)), start=int(rng.random() < 0.3) * 9))
        memory.add(episode(8, own=own))
        batch = draw(memory, 32, rng, pack=bool(n % 2))
        assert batch.storage_index is not None and batch.weight is not None
        assert bool(batch.loss_mask.any(dim=1).all())  # each row learns something
        assert bool((batch.weight[batch.valid] > 0).all()) and float(batch.weight.max()) == 1.0
        memory.update_priorities(batch, rng.exponential(size=batch.reward.shape))
        assert memory._priorities is not None
        live = np.zeros(60, bool)
        for row in memory._table.numbers:
            live[(row[EpisodeTable.SLOT] + np.arange(row[EpisodeTable.LENGTH])) % 60] = True
        assert (memory._priorities.tree.get(np.arange(60))[~live] == 0.0).all()


def test_the_storage_index_says_where_each_step_is_stored() -> None:
    rng = np.random.default_rng(4)
    memory = replay(9, 4, 15)
    batch = draw(memory, 20, rng, pack=True)
    assert batch.storage_index is not None
    stored = memory._slots.columns["observation/x"][batch.storage_index.numpy()]
    np.testing.assert_array_equal(stored[batch.valid], batch.observation["x"][:, :-1].numpy()[batch.valid])


def test_a_restored_replay_draws_the_same() -> None:
    rng = np.random.default_rng(5)
    memory = replay(*rng.integers(3, 20, 40).tolist(), capacity=120)
    spread(memory, rng)
    other = replay(capacity=120)
    other.load_state_dict(memory.state_dict())
    for seed in range(5):
        one, two = (draw(m, 16, np.random.default_rng(seed)) for m in (memory, other))
        assert one.weight is not None and two.weight is not None
        np.testing.assert_array_equal(one.episode_index, two.episode_index)
        np.testing.assert_allclose(one.weight, two.weight)
    with pytest.raises(CheckpointError, match="expected a replay state with"):
        Replay(LEAVES, 120, actions=2).load_state_dict(memory.state_dict())
    broken = memory.state_dict()
    broken["priorities"] = broken["priorities"][:-1]  # type: ignore[index]
    with pytest.raises(CheckpointError, match="priorities"):
        other.load_state_dict(broken)


def test_wrong_use_is_refused() -> None:
    memory = replay(5)
    batch = draw(memory, 2, np.random.default_rng(0))
    with pytest.raises(DataError, match="finite"):
        memory.update_priorities(batch, np.full(batch.reward.shape, np.nan))
    with pytest.raises(ConfigError, match="alpha"):
        replay(alpha=1.5)
    with pytest.raises(ConfigError, match="the priorities"):
        memory.sample(2, window=6, context=3, discount=0.9, rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="add episodes first"):
        draw(replay(), 2, np.random.default_rng(0))
