"""How uniformly windows train the steps of an episode; the episode table and the ring keep their rows."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.replay.ring import EpisodeTable, Ring, window_units


@pytest.mark.parametrize(("window", "context"), [(6, 2), (10, 5), (4, 0), (9, 8)])
def test_units_train_every_step_as_often_as_documented(window: int, context: int) -> None:
    """Enumerates every draw: each step at least W - c times, and at most the documented bound."""
    gain = window - context
    for start in (0, 3):
        for length in range(1, 6 * window):
            row = np.array([length]), np.array([start])
            units = int(window_units(row[0], row[1], window, context)[0])
            learned = np.zeros(length, int)
            for unit in range(units):
                offset = min(max(unit - gain + 1, 0), max(length - window, 0))
                burn = context if start + offset > 0 else 0
                learned[offset + burn : offset + window] += 1
            if start and length <= context:
                assert units == 0
                continue
            assert (learned[:context] == (0 if start else gain)).all()
            reached = learned[context:] if start or length > context else learned
            assert reached.min() == gain or length < 2 * window
            assert reached.min() >= gain
            times = 1 if length <= window else 3 if length < 2 * window - context else 2
            assert reached.max() <= times * gain
            # far from both edges the rate is the same for all
            assert (learned[window : length - window] == gain).all()


def test_units_need_a_window_longer_than_the_context_inside_episodes() -> None:
    def units(length: int, start: int, window: int, context: int) -> int:
        return int(window_units(np.array([length]), np.array([start]), window, context)[0])

    assert units(10, 0, 10, 10) == units(3, 0, 10, 20) == 1
    for length, start in ((11, 0), (5, 1)):
        with pytest.raises(ConfigError, match="window > context"):
            units(length, start, 10, 10)


def test_the_table_keeps_its_rows_and_not_what_was_evicted() -> None:
    rng = np.random.default_rng(0)
    table, kept = EpisodeTable(1), []
    for n in range(5000):
        length = int(rng.integers(1, 30))
        table.append(np.array([n, length, 0, 1, 2]), n / 2)
        kept.append((n, length))
        while len(kept) > (100 if n < 2500 else 20):
            assert table.evict() == kept.pop(0)[1]
        if n % 7 == 0 and n % 1000 < 600:  # now and then, what was never drawn from goes too
            window = 10 if n % 2 else 12
            assert table.numbers[:, :2].tolist() == [list(row) for row in kept]
            assert table.previous_reward.tolist() == [row[0] / 2 for row in kept]
            lengths = np.array([row[1] for row in kept])
            want = window_units(lengths, np.zeros_like(lengths), window, 4)
            assert np.diff(table.units_before(window, 4)).tolist() == want.tolist()
    assert table.evicted == 4980
    assert table.nbytes <= 4 * EpisodeTable(1).nbytes  # room for 100 rows or so, not for 5000


def test_slots_wrap_around() -> None:
    slots = Ring({"x": ((2,), np.dtype(np.int16))}, 7)
    rows = np.arange(10, dtype=np.int16)[:, None].repeat(2, axis=1)
    assert slots.write({"x": rows[:5]}) == 0
    slots.used -= 5
    assert slots.write({"x": rows[5:]}) == 5
    assert slots.columns["x"][:, 0].tolist() == [7, 8, 9, 3, 4, 5, 6]
    assert slots.live()["x"][:, 0].tolist() == [5, 6, 7, 8, 9]
    assert slots.columns["x"].dtype == np.int16
    assert slots.nbytes == 7 * 2 * 2
