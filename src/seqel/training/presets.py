"""Named sets of settings: the default, and those for recorded data."""

from __future__ import annotations

from typing import Any

from seqel.errors import ConfigError

__all__ = ["PRESETS", "preset_settings"]

# What the presets for recorded data were tuned with (docs/experiments.md). The defaults were chosen for training in
# environments and have not been measured on recorded data.
_RECORDED: dict[str, Any] = {
    "objective.trace": "peng",
    "replay.batch_tokens": 1_664,
    "learner.learning_rate": 1e-3,
    "learner.target_rate": 0.01,
}

# name -> (what it is for, settings by dotted name)
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("training in an environment, with immediate or delayed rewards", {}),
    "monitoring": (
        "streams in which few actions are worth taking and wrong ones are costly: little exploration, rewards not observed",
        {
            "network.previous_reward": False,
            "exploration.novelty": 0.0,
            "exploration.bonus": 0.0,
            "exploration.high": 0.003,
        },
    ),
    "offline-cql": (
        "recorded data: conservative Q-learning (Kumar et al. 2020), which lowers the values of actions not in the data",
        _RECORDED | {"objective.cql_alpha": 0.05},
    ),
    "offline-online": (
        "training that continues in an environment (with --init-from and --data): the incumbent acts, a challenger is tried",
        _RECORDED
        | {
            "replay.replay_ratio": 32.0,
            "learner.acting_weights": "incumbent",
            "learner.average_rate": 0.01,
            "validation.every": 5_000,
            "exploration.bonus": 0.0,
            "exploration.novelty": 0.0,
            "exploration.high": 0.01,
            "learner.learning_rate": 2e-4,
            "objective.cql_alpha": 0.05,
            "offline.fraction": 0.1,
        },
    ),
    "offline-iql": (
        "recorded data: implicit Q-learning (Kostrikov et al. 2021), which evaluates recorded actions only",
        _RECORDED | {"objective.iql_expectile": 0.9, "objective.cloning_weight": 1.0, "objective.awr_beta": 3.0},
    ),
    "offline-bcq": (
        "recorded data: the best value among the actions that are likely in a state (discrete BCQ, Fujimoto et al. 2019)",
        _RECORDED | {"objective.cloning_weight": 1.0, "network.policy_head": "constraint"},
    ),
    "supervised-q": (
        "recorded data, many actions: cloning of the recorded actions, shaped by Q-learning (SQN, Xin et al. 2020)",
        _RECORDED | {"objective.cloning_weight": 1.0, "objective.lambda_": 0.0},
    ),
    "next-item": (
        "recorded choices of items, from large catalogues: the most probable next item (SASRec, Kang and McAuley 2018)",
        {
            "objective.td_weight": 0.0,
            "objective.cloning_weight": 1.0,
            "objective.discount": 0.0,
            "network.actions": "items",
            "network.dropout": 0.2,
            "network.heads": 2,
            "network.previous_reward": False,
            "replay.batch_tokens": 4_096,
            "learner.learning_rate": 1e-3,
            "learner.target_rate": 0.01,
            "learner.sampled_negatives": 256,
            "learner.weight_decay": 0.0,
        },
    ),
    "behaviour-cloning": (
        "recorded data: behaviour cloning, the baseline that every other preset must beat",
        _RECORDED | {"objective.td_weight": 0.0, "objective.cloning_weight": 1.0},
    ),
}

REMOVED = ("immediate", "control", "search")  # for tasks that the default of version 0.1 did not learn


def preset_settings(name: str) -> dict[str, Any]:
    """Return the settings that a preset changes, by dotted name.

    Raises:
        ConfigError: there is no such preset. The message says so if it was removed, and otherwise names the nearest one.
    """
    if name in REMOVED:
        raise ConfigError(
            f"preset {name!r} was removed, because one default replaces it: leave out the preset. Its settings are in "
            "docs/experiments.md, under 'One default'"
        )
    if name not in PRESETS:
        from difflib import get_close_matches

        near = get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}; got {name!r}{hint}")
    return PRESETS[name][1]
