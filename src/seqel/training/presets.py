"""Named starting points: where the defaults of `config.py` are not the best, and when to use which."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS"]

# name -> (what it is for, settings by dotted name)
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("delayed rewards, for instance after long corridors: Peng's Q(0.9)", {}),
    "immediate": (
        "tasks that give feedback on each action at once (recall, counting, copying): one-step targets, a mild count bonus",
        {"objective.lambda_": 0.0, "exploration.bonus": 0.02, "environments": 32, "replay.replay_ratio": 4.0},
    ),
    "control": (
        "a reward at every step and a fully observed state (balancing, steering): many small updates",
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
        "tasks where the agent must first find what it has to remember: higher exploration temperatures, slower learning",
        {
            "exploration.low": 0.003,
            "exploration.high": 0.3,
            "learner.learning_rate": 5e-4,
            "learner.target_rate": 0.005,
        },
    ),
    "offline-cql": (
        "recorded data: conservative Q-learning (Kumar et al. 2020), which lowers the values of actions not in the data",
        {"objective.cql_alpha": 0.05},
    ),
    "offline-online": (
        "from recorded data to an environment (with --start and --data): the incumbent acts, a challenger is tried",
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
        "recorded data: implicit Q-learning (Kostrikov et al. 2021), which only ever values recorded actions",
        {"objective.iql_expectile": 0.9, "objective.cloning_weight": 1.0, "objective.awr_beta": 3.0},
    ),
    "offline-bcq": (
        "recorded data: the best value among the actions that are likely in a state (discrete BCQ, Fujimoto et al. 2019)",
        {"objective.cloning_weight": 1.0, "network.policy_head": "constraint"},
    ),
    "supervised-q": (
        "recorded data, many actions: cloning of the recorded actions, shaped by Q-learning (SQN, Xin et al. 2020)",
        {"objective.cloning_weight": 1.0, "objective.lambda_": 0.0},
    ),
    "behaviour-cloning": (
        "recorded data: behaviour cloning, the baseline that every other preset must beat",
        {"objective.td_weight": 0.0, "objective.cloning_weight": 1.0},
    ),
}
