"""Named starting points: where the defaults of `config.py` are not the best, and when to use which."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS"]

# name -> (what it is for, settings by dotted name)
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("rewards that come late, after long corridors: Peng's Q(0.9)", {}),
    "immediate": (
        "each action is answered at once (recall, counting, copying): one-step targets, a mild count bonus",
        {"objective.lambda_": 0.0, "exploration.bonus": 0.02, "environments": 32, "replay.replay_ratio": 4.0},
    ),
    "control": (
        "a reward at every step, and all there is to know in view (balancing, steering): many small updates",
        {
            "replay.batch_tokens": 416,
            "learner.learning_rate": 5e-4,
            "replay.priority": 0.6,
            "exploration.bonus": 0.02,
            "exploration.persist": 2.0,
            "network.clock": False,
        },
    ),
    "search": (
        "what has to be remembered must first be looked for: a warmer ladder of temperatures, slower learning",
        {
            "exploration.low": 0.003,
            "exploration.high": 0.3,
            "learner.learning_rate": 5e-4,
            "learner.target_rate": 0.005,
        },
    ),
    "offline-cql": (
        "recorded data: conservative Q-learning (Kumar et al. 2020), values of what was not done are held down",
        {"objective.cql_alpha": 0.05},
    ),
    "offline-online": (
        "from recorded data on to an environment (with --start and --data): what is proven acts, what is learnt is on trial",
        {
            "learner.acting_weights": "incumbent",
            "validation.every": 5_000,
            "exploration.bonus": 0.0,
            "exploration.high": 0.01,
            "learner.learning_rate": 2e-4,
            "objective.cql_alpha": 0.05,
            "offline.fraction": 0.1,
        },
    ),
    "offline-iql": (
        "recorded data: implicit Q-learning (Kostrikov et al. 2021), only actions that were recorded are ever valued",
        {"objective.iql_expectile": 0.9, "objective.cloning_weight": 1.0, "objective.awr_beta": 3.0},
    ),
    "offline-bcq": (
        "recorded data: the best value among the actions that are likely here (discrete BCQ, Fujimoto et al. 2019)",
        {"objective.cloning_weight": 1.0, "network.policy_head": "constraint"},
    ),
    "supervised-q": (
        "recorded data, many actions: the next action as it was recorded, shaped by Q-learning (SQN, Xin et al. 2020)",
        {"objective.cloning_weight": 1.0, "objective.lambda_": 0.0},
    ),
    "behaviour-cloning": (
        "recorded data: do what was done; the baseline that every other must beat",
        {"objective.td_weight": 0.0, "objective.cloning_weight": 1.0},
    ),
}
