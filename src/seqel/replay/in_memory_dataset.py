"""Recorded sessions in memory, with what they mean: what a learner of recorded data takes, without any file."""

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
    """Episodes and their spaces."""

    buffer: EpisodeBuffer
    observation: ObservationSpec
    action: ActionSpec

    @classmethod
    def of(cls, episodes: Sequence[Episode], observation: ObservationSpec, action: ActionSpec) -> InMemoryDataset:
        """From episodes whose observations are flat, as `observation.flatten` makes them; actions count from 0.

        Raises DataError where one does not fit.
        """
        masked = bool(episodes) and episodes[0].action_mask is not None
        layout = Layout(observation.storage, action.actions, action.dims, masked, recorded=True)
        return cls(EpisodeBuffer.of(layout, episodes), observation, action)

    def split(self, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the sessions to learn from, and of those held out, by chance.

        Raises DataError where there are fewer than two.
        """
        stream = np.random.default_rng((seed, SPLIT))  # its own: data may well be made with the same small seed
        key = stream.random(self.buffer.episodes)
        return split_rows(key, held_out)


def split_rows(key: NDArray[np.floating], held_out: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the larger keys, and of the `held_out` share with the smallest ones, in order; neither is empty.

    Raises DataError where there are fewer than two rows.
    """
    if len(key) < 2:
        raise DataError(
            f"expected at least 2 sessions, one to learn from and one to hold out, got {len(key)}. Is the session column the "
            "right one? One long stream can be cut into sessions (days, say) beforehand"
        )
    count = int(np.clip(round(held_out * len(key)), 1, len(key) - 1))
    order = np.argsort(key, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])
