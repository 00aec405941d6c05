"""Computes the number of windows per update, and how many of them are from recorded data."""

from __future__ import annotations

from seqel.replay.buffer import Replay
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.gathering import windows_of
from seqel.training.config import RunConfig

__all__ = ["split_batch"]

MAX_WINDOWS = 256


def split_batch(config: RunConfig, replay: Replay, recorded: EpisodeBuffer | None, window: int) -> tuple[int, int]:
    """Return the numbers (live, recorded) of windows of at most `window` steps.

    The shares are of an update's transitions, not of its windows: recorded episodes may be much shorter than live ones.
    """
    size, share = config.replay, 0.0 if recorded is None else config.offline.fraction
    if size.batch_size:
        old = 0 if recorded is None else min(size.batch_size - 1, max(1, round(share * size.batch_size)))
        return size.batch_size - old, old
    mean = min(window, len(replay) / replay.episodes)
    live = windows_of((1.0 - share) * size.batch_tokens, mean, MAX_WINDOWS)
    if recorded is None:
        return live, 0
    return live, windows_of(share * size.batch_tokens, recorded.mean_length(window), MAX_WINDOWS)
