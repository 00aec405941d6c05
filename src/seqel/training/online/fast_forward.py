"""Restores environments by repeating their seeds and actions, and checks that they behave as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.environments.vector import VectorStream
from seqel.errors import EnvironmentFault

__all__ = ["fast_forward"]


def fast_forward(
    stream: VectorStream,
    seeds: list[int | None],
    history: Sequence[Sequence[Any]],
    same: Callable[[int, int, float | None], bool],
) -> NDArray[np.bool_]:
    """Reset every row with its seed and take the actions of its `history` again. Returns (E,) bool, True for lost rows.

    An action is a number, or M numbers if there are several dimensions, counted from 0.

    All rows end at the same call: rows with fewer actions idle first and are reset when it is their turn.
    `same(row, taken, reward)` compares what `stream.current` shows after `taken` actions with what was recorded. It is
    called at every step, because a difference in hidden state (another cue) may not show in the last observation. A row
    that differs once, or ends, is lost; if the environment raises an error, all rows are.
    """
    try:
        return _fast_forward(stream, seeds, history, same)
    except EnvironmentFault:
        return np.ones(stream.count, bool)


def _fast_forward(
    stream: VectorStream,
    seeds: list[int | None],
    history: Sequence[Sequence[Any]],
    same: Callable[[int, int, float | None], bool],
) -> NDArray[np.bool_]:
    lengths = np.array([len(actions) for actions in history])
    waits = int(lengths.max()) - lengths  # (E,) calls before each row's turn
    lost = np.zeros(stream.count, bool)
    stream.reset(seeds)
    for call in range(int(lengths.max()) + 1):
        begins = (waits == call) & (waits > 0)
        if begins.any():
            stream.reset([seed if now else None for seed, now in zip(seeds, begins, strict=True)], begins)
        for row in np.flatnonzero(waits == call):
            lost[row] = not same(int(row), 0, None)
        if call == lengths.max():
            break
        playing = (waits <= call) & ~lost
        action = _any_allowed(stream)
        for row in np.flatnonzero(playing):
            action[row] = history[int(row)][int(call - waits[row])]
        outcome = stream.step(action)
        lost |= playing & outcome.ended
        for row in np.flatnonzero(playing & ~lost):
            lost[row] = not same(int(row), int(call - waits[row]) + 1, float(outcome.reward[row]))
        if outcome.ended.any():  # idle or lost rows
            stream.reset([0 if over else None for over in outcome.ended.tolist()], outcome.ended)
    return lost


def _any_allowed(stream: VectorStream) -> NDArray[np.int64]:
    """Return an allowed action per row, for rows whose steps do not count but must not break the environment."""
    mask = stream.unmasked() if stream.mask is None else stream.mask
    return np.asarray(mask.argmax(axis=-1), np.int64)  # (E,), or (E, M) if M > 1
