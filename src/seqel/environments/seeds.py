"""The seeds of environments: ranges for reporting, validation, confirmation and training that do not overlap.

All are below 2^31, because simulators often store a seed as a signed 32-bit integer.
"""

from __future__ import annotations

import numpy as np

from seqel.errors import ConfigError

__all__ = ["CONFIRMATION", "REPORTS", "TRAINING", "VALIDATION", "episode_seed", "require_for_reports"]

REPORTS = range(1 << 30)  # for `evaluate`: the only ones that a user chooses
VALIDATION = range(1 << 30, (1 << 30) + (1 << 28))
CONFIRMATION = range((1 << 30) + (1 << 28), (1 << 30) + (1 << 29))
TRAINING = range((1 << 30) + (1 << 29), 1 << 31)


def episode_seed(run: int, environment: int, number: int) -> int:
    """Return the seed of training episode `number` of an environment: a hash of all three, within TRAINING."""
    drawn = int(np.random.SeedSequence([run, environment, number]).generate_state(1)[0])
    return TRAINING.start + drawn % len(TRAINING)


def require_for_reports(seed: int, episodes: int) -> None:
    """Raise ConfigError unless seed to seed + episodes - 1 are all within REPORTS."""
    last = REPORTS.stop - episodes
    if not 0 <= seed <= last:
        raise ConfigError(f"seed: expected 0 to {last} (higher seeds are used in training and validation), got {seed}")
