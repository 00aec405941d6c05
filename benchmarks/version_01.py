"""The presets of version 0.1, with which the figures in results/learn and results/pixels and the recorded data were made.

They also set what was a default at that time. docs/experiments.md ("One default") says what replaced them.
"""

from __future__ import annotations

from typing import Any

DEFAULT: dict[str, Any] = {
    "objective.trace": "peng", "replay.batch_tokens": 1_664, "replay.replay_ratio": 32.0, "learner.learning_rate": 1e-3,
    "learner.target_rate": 0.01, "learner.average_rate": 1.0,
}  # fmt: skip

# name -> settings by dotted name
PRESETS: dict[str, dict[str, Any]] = {
    "default": DEFAULT,
    "immediate": DEFAULT
    | {"objective.lambda_": 0.0, "exploration.bonus": 0.02, "environments": 32, "replay.replay_ratio": 4.0},
    "control": DEFAULT
    | {
        "replay.batch_tokens": 416, "learner.learning_rate": 5e-4, "replay.priority_exponent": 0.6, "exploration.bonus": 0.02,
        "exploration.duration_exponent": 2.0, "network.clock": False,
    },
    "search": DEFAULT
    | {
        "exploration.low": 0.003, "exploration.high": 0.3, "learner.learning_rate": 5e-4, "learner.target_rate": 0.005,
    },
}  # fmt: skip
