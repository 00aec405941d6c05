"""Samples the batches of a run on environments: windows of its own experience, and of recorded episodes if there are any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from seqel.agents.visits import VisitCounts
from seqel.replay.buffer import Replay
from seqel.replay.concat import concat
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.gathering import windows_of
from seqel.training.config import RunConfig
from seqel.types import SequenceBatch

__all__ = ["Batches"]

MAX_WINDOWS = 256


class Batches:
    """Chooses the length and number of windows, and samples them.

    `recorded`: `offline.fraction` of each batch is sampled from it. `visits`: says how new each observation is; None: nothing
    needs to know. `pack`: whether short windows share a row. `note` receives a message for the user.
    """

    def __init__(
        self,
        config: RunConfig,
        replay: Replay,
        recorded: EpisodeBuffer | None,
        visits: VisitCounts | None,
        pack: bool,
        note: Callable[[str], None],
    ) -> None:
        self.config, self.replay, self.recorded, self.visits = config, replay, recorded, visits
        self.pack, self.note = pack, note
        self.widened = False  # whether windows had to be widened

    def draw(self, rng: np.random.Generator, progress: float) -> tuple[SequenceBatch, SequenceBatch]:
        """Return windows of the run's own experience, and the same followed by recorded ones: the batch to train on.

        `progress` is the share of the run that is over, with which importance weights grow to 1.
        """
        config, window = self.config, self.window()
        how: dict[str, Any] = {
            "window": window, "context": config.network.context, "discount": config.objective.discount, "rng": rng,
            "pad_to": window if config.learner.compile == "on" else None, "pack": self.pack,
        }  # fmt: skip
        own, recorded = self.split(window)
        importance = config.replay.importance_exponent + (1.0 - config.replay.importance_exponent) * progress
        live = self.replay.sample(own, importance_exponent=importance, **how)
        if self.visits is not None:
            assert live.first_visit is not None
            live = dataclasses.replace(live, novelty=torch.from_numpy(self.visits.novelty(live.first_visit.numpy())))
        if self.recorded is None or not recorded:
            return live, live
        return live, concat(live, self.recorded.sample(recorded, **how))

    def split(self, window: int) -> tuple[int, int]:
        """Return the numbers of own and of recorded windows of at most `window` steps.

        The shares are of an update's transitions, not of its windows: recorded episodes may be much shorter than live ones.
        """
        size, share = self.config.replay, 0.0 if self.recorded is None else self.config.offline.fraction
        if size.batch_size:
            old = 0 if self.recorded is None else min(size.batch_size - 1, max(1, round(share * size.batch_size)))
            return size.batch_size - old, old
        mean = min(window, len(self.replay) / self.replay.episodes)
        live = windows_of((1.0 - share) * size.batch_tokens, mean, MAX_WINDOWS)
        if self.recorded is None:
            return live, 0
        return live, windows_of(share * size.batch_tokens, self.recorded.mean_length(window), MAX_WINDOWS)

    def window(self) -> int:
        """Return the config's window, or twice the context once episodes are longer than the window was chosen for.

        Random play may have shown only short episodes, and a window inside an episode must be longer than its burn-in.
        """
        window, context = self.config.replay.window, self.config.network.context
        if window > context or self.replay.whole(window):
            return window
        if not self.widened:
            self.widened = True
            self.note(
                f"episodes are now longer than replay.window = {window}, the longest in random play: windows have "
                f"{2 * context} steps from here on. If the agent must remember more, set network.context"
            )
        return 2 * context
