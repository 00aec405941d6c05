"""Recorded episodes in memory, with their spaces: a dataset for offline training that needs no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.errors import DataError
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.layout import Layout
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import Episode

__all__ = ["InMemoryDataset", "split_rows"]

SPLIT = 0x5E551


@dataclass(frozen=True, slots=True)
class InMemoryDataset:
    """Recorded episodes and their observation and action space."""

    buffer: EpisodeBuffer
    observation: ObservationSpec
    action: ActionSpec

    @classmethod
    def of(cls, episodes: Sequence[Episode], observation: ObservationSpec, action: ActionSpec) -> InMemoryDataset:
        """Make a dataset from episodes with flat observations, as `observation.flatten` returns; actions count from 0.

        Raises DataError if an episode does not fit the spaces.
        """
        masked = bool(episodes) and episodes[0].action_mask is not None
        layout = Layout(observation.storage, action.actions, action.dims, masked, recorded=True)
        return cls(EpisodeBuffer.of(layout, episodes), observation, action)

    def split(self, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split at random into the rows of training episodes and of held-out episodes.

        Raises DataError if there are fewer than two episodes.
        """
        stream = np.random.default_rng((seed, SPLIT))  # a separate stream: data may be made with the same small seed
        key = stream.random(self.buffer.episodes)
        return split_rows(key, held_out)


def split_rows(key: NDArray[np.floating], held_out: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the larger keys, and the `held_out` share with the smallest keys, in order; neither is empty.

    Raises DataError if there are fewer than two rows.
    """
    if len(key) < 2:
        raise DataError(
            f"expected at least 2 sessions, one for training and one to hold out, got {len(key)}. Check that the session "
            "column is the right one. One long stream can be cut into sessions, for example days, beforehand"
        )
    count = int(np.clip(round(held_out * len(key)), 1, len(key) - 1))
    order = np.argsort(key, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])
