"""Questions to a ranker from recorded episodes: what each user chose last, after everything before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqel.errors import DataError
from seqel.ranking.interactions import Interactions, Queries
from seqel.replay.episode_buffer import EpisodeBuffer

__all__ = ["last_items"]


def last_items(buffer: EpisodeBuffer, items: Sequence[Any]) -> Queries:
    """Return the last step of every episode with at least two as a question; `Queries.user` is the episode.

    items: the names of the actions, by code.

    Raises DataError: an action has several dimensions, or no episode has two steps.
    """
    row, slot, time = buffer.steps()
    actions = np.asarray(buffer.slots.columns["action"])[slot].astype(np.int64)
    if actions.shape[1] != 1:
        raise DataError(f"expected actions that are items, got {actions.shape[1]} action dimensions")
    rating = np.asarray(buffer.slots.columns["reward"])[slot].astype(np.float32)
    users = tuple(range(buffer.episodes))
    every = Interactions(row.astype(np.int64), actions[:, 0], time.astype(np.float64), rating, users, tuple(items))
    ends = every.starts[1:]
    asked = np.flatnonzero(np.diff(every.starts) >= 2)
    if not len(asked):
        raise DataError("expected an episode with at least two steps, got none: nothing comes after a history")
    return Queries(every, asked, ends[asked] - 1, ends[asked])
