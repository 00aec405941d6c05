"""The seeds of environments: ranges for reporting, validation, confirmation and training that do not overlap.

All are below 2^31, because simulators often store a seed as a signed 32-bit integer.
"""

from __future__ import annotations

import numpy as np

from seqel.errors import ConfigError

__all__ = [
    "CONFIRMATION",
    "REPORTS",
    "TRAINING",
    "VALIDATION",
    "FreshSeeds",
    "episode_seed",
    "require_for_reports",
]

REPORTS = range(1 << 30)  # for `evaluate`: the only ones that a user chooses
VALIDATION = range(1 << 30, (1 << 30) + (1 << 28))
CONFIRMATION = range((1 << 30) + (1 << 28), (1 << 30) + (1 << 29))
TRAINING = range((1 << 30) + (1 << 29), 1 << 31)


class FreshSeeds:
    """Hands out the seeds of a range, each once; after the last one it starts again.

    `used` says how many are handed out since the start of the range; save it, so that a resumed run gets the following ones.
    """

    def __init__(self, seeds: range) -> None:
        self.seeds, self.used = seeds, 0

    def take(self, count: int) -> int:
        """Return the first of `count` consecutive seeds that were not handed out yet."""
        if self.used + count > len(self.seeds):
            self.used = 0
        first = self.seeds[self.used]
        self.used += count
        return first


def episode_seed(run: int, environment: int, number: int) -> int:
    """Return the seed of training episode `number` of an environment: a hash of all three, within TRAINING."""
    drawn = int(np.random.SeedSequence([run, environment, number]).generate_state(1)[0])
    return TRAINING.start + drawn % len(TRAINING)


def require_for_reports(seed: int, episodes: int, limit: int = 1) -> None:
    """Raise ConfigError unless there is an episode, seed to seed + episodes - 1 are all within REPORTS, and limit is a step.

    limit: steps after which an episode is truncated.
    """
    if episodes < 1 or limit < 1:
        raise ConfigError(f"expected at least 1 episode of at least 1 step, got episodes={episodes} and limit={limit}")
    last = REPORTS.stop - episodes
    if not 0 <= seed <= last:
        raise ConfigError(f"seed: expected 0 to {last} (higher seeds are used in training and validation), got {seed}")
