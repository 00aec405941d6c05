"""Interactions as recorded episodes: one user is an episode, a step is an interaction, and its action is the item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.datasets.encoding import CONSTANT, Encoding
from seqel.datasets.schema import Schema
from seqel.errors import DataError
from seqel.ranking.interactions import Interactions, Queries
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.layout import Layout
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import Episode

__all__ = ["RankingData", "item_encoding", "ranking_data"]

HISTORY = 200  # items of a history that are read, the latest


@dataclass(frozen=True, slots=True)
class RankingData:
    """Episodes to train on, and questions to validate with, as `seqel.train(data=...)` takes them.

    No users are held out. There are training episodes of all users; the held-out episodes are the questions: a history, which
    has no loss, and the item that came next.
    """

    buffer: EpisodeBuffer
    encoding: Encoding
    training: int  # episodes

    @property
    def observation(self) -> ObservationSpec:
        """Nothing but the history."""
        return self.encoding.observation

    @property
    def action(self) -> ActionSpec:
        """The items."""
        return self.encoding.action

    def split(self, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the training episodes, and of the questions; both arguments are not used."""
        rows = np.arange(self.buffer.episodes)
        return rows[: self.training], rows[self.training :]


def ranking_data(train: Interactions, validation: Queries, history: int = HISTORY) -> RankingData:
    """Make episodes of interactions, with their ratings as rewards.

    history: how many items before a question are read, as by `agent.rank(..., length=history)`: the first of them is taken
    for the user's first.

    Raises DataError if there is no question to validate with.
    """
    if not len(validation):
        raise DataError("expected at least one question to validate with, got none: no user has enough interactions")
    encoding = item_encoding(train.items)
    layout = Layout(encoding.observation.storage, len(train.items), 1, masked=False, recorded=True)
    starts = train.starts
    parts = [_episode(train, a, b, b - a) for a, b in pairwise(starts) if b > a]
    training = len(parts)
    source = validation.source
    for start, stop, end in zip(validation.start, validation.stop, validation.end, strict=True):
        parts.append(_episode(source, max(start, stop - history), end, end - stop))
    return RankingData(EpisodeBuffer.of(layout, parts), encoding, training)


def item_encoding(items: Sequence[Any]) -> Encoding:
    """Return what an agent keeps of a catalogue: the names of its actions, in order."""
    names = tuple(str(name) for name in items)
    schema = Schema(session="user", action="item", reward="rating", order="time", ends="truncated", actions=names)
    return Encoding(schema, names, {}, {}, ())


def _episode(source: Interactions, start: int, end: int, learned: int) -> Episode:
    """Return rows of the interactions as an episode, of which the last `learned` steps have a loss."""
    size = end - start
    return Episode(
        {CONSTANT: np.zeros((size + 1, 1), np.uint8)},
        source.item[start:end, None],
        source.rating[start:end],
        truncated=True,
        by_agent=np.arange(size) >= size - learned,
    )
