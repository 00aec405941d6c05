"""Settings and folders of the runs that train an agent to write text."""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["ASKED", "BASE", "IMITATION", "IMITATION_ONLY", "VALUES", "Method", "settings_for", "settings_of_values"]

# what a training's folder holds (`seqel.language.training`)
ASKED, IMITATION, BASE, VALUES = "text.json", "imitation", "base", "values"

Method = Literal["q-sharp", "ilql"]

# A text's token is its observation and also the action before it, so one of the two suffices. Returns come at the end.
# Dueling: a token that is rarely written then has the values of its state, and not those it was initialised with.
BASIC: dict[str, Any] = {
    "network.width": 128, "network.layers": 4, "network.previous_action": False, "network.previous_reward": False,
    "network.first_step": False, "network.policy_head": "auxiliary", "network.value": "hl-gauss", "network.bins": 51,
    "network.dueling": True, "objective.discount": 1.0, "objective.cloning_weight": 1.0, "replay.batch_tokens": 2_048,
    "learner.learning_rate": 1e-3, "learner.warmup": 100, "learner.target_rate": 0.02,
}  # fmt: skip
# A distribution for each of a thousand tokens would cost more than the whole Transformer, so their values are numbers.
MANY = 512
OF_MANY: dict[str, Any] = {"network.value": "scalar"}
# ILQL has two critics; returns are bootstrapped from the state value, and what is not in the texts is worth less.
OF_ILQL: dict[str, Any] = {
    "network.value": "scalar", "network.dueling": False, "network.critics": 2, "network.state_value": True,
}  # fmt: skip
# Rewards by token come right after what earned them, and the rest of a text would only be noise in a target: returns are
# bootstrapped from the state value, which is that of the policy that wrote the texts (their expectile 1/2 is the mean).
OF_PARTIAL: dict[str, Any] = {"network.state_value": True, "network.value": "scalar"}
OF_MODEL: dict[str, Any] = {
    "network.trunk": "pretrained", "network.actions": "tokens", "network.value": "scalar", "network.dueling": False,
    "network.critics": 1, "replay.batch_tokens": 512, "learner.learning_rate": 5e-4,
}  # fmt: skip

IMITATION_ONLY: dict[str, Any] = {"objective.td_weight": 0.0}
VALUES_OF: dict[Method, dict[str, Any]] = {
    "q-sharp": {"objective.td_weight": 1.0, "objective.lambda_": 1.0, "objective.trace": "peng"},
    "ilql": {
        "objective.td_weight": 1.0, "objective.iql_expectile": 0.7, "objective.cql_alpha": 0.01, "objective.lambda_": 0.95,
        "objective.trace": "peng",
    },
}  # fmt: skip
# Most of the variance of the targets is how much of a text is left; what a single token earns is a small part of it, which
# needs the larger weight to be learned (docs/experiments.md, "Text").
VALUES_OF_PARTIAL: dict[str, Any] = {
    "objective.iql_expectile": 0.5, "objective.lambda_": 0.9, "objective.td_weight": 5.0,
}  # fmt: skip
# What answers a prompt, such as a translation, depends on it so closely that to clone a few thousand samples spoils the base
# policy: there it is kept by its whole distribution. For texts without prompts, values are then learned worse.
# (Where rewards come by token, the weight of the values is larger as well.)
VALUES_OF_PAIRS: dict[bool, dict[str, Any]] = {
    partial: {"objective.cloning_weight": 0.0, "objective.distillation_weight": 20.0 if partial else 4.0}
    for partial in (False, True)
}


def settings_for(method: Method, tokens: int, model: str | None, partial: bool) -> dict[str, Any]:
    """Return the settings that all runs of a training share.

    tokens: their number. model: a pretrained one, if any. partial: rewards come by token.
    """
    found = BASIC | (OF_MANY if tokens > MANY else {}) | (OF_ILQL if method == "ilql" else {})
    found |= {} if model is None else OF_MODEL | {"network.model": model}
    return found | (OF_PARTIAL if partial else {})


def settings_of_values(method: Method, partial: bool, pairs: bool) -> dict[str, Any]:
    """Return what the runs that fit values have besides. pairs: texts answer prompts."""
    if method != "q-sharp":
        return VALUES_OF[method]
    return VALUES_OF[method] | (VALUES_OF_PARTIAL if partial else {}) | (VALUES_OF_PAIRS[partial] if pairs else {})
