"""Every logged metric, with its unit and meaning. The table in the documentation is generated from this file."""

from __future__ import annotations

from seqel.losses.terms.cost import COST
from seqel.losses.terms.novelty import NOVELTY
from seqel.losses.terms.registry import TERMS
from seqel.losses.terms.robustness import ROBUSTNESS

__all__ = ["BEST", "HELD_OUT", "METRICS", "OFFLINE", "VALIDATION", "markdown"]

EVERYWHERE = (NOVELTY, COST, ROBUSTNESS)  # terms of the objective that a run in an environment may have

# name: (unit, meaning). A line of metrics.jsonl holds these side by side; TensorBoard has them under train/.
METRICS: dict[str, tuple[str, str]] = {
    "steps": ("steps", "environment steps so far, over all environments; 0 for a run on recorded data"),
    "seconds": ("seconds", "time of training and validation so far, including the time before a resume"),
    "updates": ("updates", "updates so far"),
    "steps_per_second": (
        "steps / second",
        "speed since the last record, including updates and validation; updates per second in a run on recorded data",
    ),
    "return": ("reward", "mean undiscounted return of the last 100 training episodes, exploration included"),
    "length": ("steps", "mean length of those episodes"),
    "success": ("share", "success rate of those episodes, if the environment reports `info['is_success']`"),
    "loss": ("none", "squared error over the running variance of the targets (scalar values), or nats (HL-Gauss)"),
    "q": ("reward", "mean Q-value of the actions taken in the sampled windows"),
    "target": ("reward", "mean of the targets of those Q-values"),
    "target_variance": ("scale^2", "variance of the targets, in units of the squared return scale"),
    "td_error": ("reward", "mean absolute difference between target and Q-value"),
    **{term.name: (term.unit, term.meaning) for term in EVERYWHERE},
    "cost": ("cost", "mean undiscounted cost of the last 100 training episodes, with `objective.cost_limit`"),
    "cost_multiplier": ("reward / cost", "how much reward a unit of cost weighs in greedy choices"),
    "gradient_norm": ("none", "norm of the gradient before clipping"),
    "learning_rate": ("none", "mean over the updates since the last record"),
    "return_scale": ("reward", "running RMS of discounted returns: the unit of values, temperatures and bonuses"),
    "replay": ("transitions", "transitions in the replay"),
    "solved": ("yes or no", "the threshold was confirmed: the run ended here"),
    "notes": ("text", "messages, for instance that a checkpoint was skipped or that a resume lost episodes"),
    "crc32": ("none", "checksum of the line up to this entry; a damaged line is ignored and reported"),
}

# The keys of a line's "validation", if there was one. TensorBoard has the mean as validation/return, and success.
VALIDATION: dict[str, tuple[str, str]] = {
    "mean": (
        "reward",
        "mean undiscounted return of greedy episodes; of the challenger, if `learner.acting_weights` is incumbent",
    ),
    "iqm": ("reward", "interquartile mean of those returns"),
    "interval": ("reward", "95 % bootstrap interval of the mean"),
    "success": ("share", "success rate of those episodes, if the environment reports it"),
    "success_interval": ("share", "95 % Wilson interval of the success rate"),
    "cost": ("cost", "mean undiscounted cost per episode, if the environment reports `info['cost']`"),
    "cost_interval": ("cost", "95 % bootstrap interval of the mean cost"),
    "episodes": ("episodes", "number of episodes"),
    "truncated": ("episodes", "number of episodes that were truncated because they did not end"),
    "seed": ("none", "seed of the first episode; episode n has this seed plus n"),
}

# The keys of a line's "best": the best weights so far, after that validation. TensorBoard has validation/best_return.
BEST: dict[str, tuple[str, str]] = {
    "steps": ("steps", "environment steps at which these weights were reached"),
    "updates": ("updates", "updates at which these weights were reached"),
    "mean": ("reward", "mean undiscounted return of all validation episodes that these weights have played"),
    "success": ("share", "success rate of those episodes, if the environment reports it"),
    "interval": ("reward", "95 % bootstrap interval of the mean"),
    "success_interval": ("share", "95 % Wilson interval of the success rate"),
    "cost": ("cost", "mean undiscounted cost of those episodes, if the environment reports it"),
    "episodes": ("episodes", "number of episodes"),
}

# On recorded data, a line has these besides METRICS, if the objective has the term ...
OFFLINE: dict[str, tuple[str, str]] = {
    term.name: (term.unit, term.meaning) for term in sorted(TERMS, key=lambda term: term.name) if term not in EVERYWHERE
}

# ... and its "validation" is computed on the held-out episodes.
HELD_OUT: dict[str, tuple[str, str]] = {
    "mean": (
        "none",
        "held-out score, by which weights are kept; larger is better: minus the metric that `metric` names",
    ),
    "unexplained": (
        "share",
        "share of the variance of the targets that the Q-values do not explain; 1: as good as predicting the mean",
    ),
    "td_error": ("reward", "mean absolute difference between target and Q-value"),
    "imitation": ("nats", "mean negative log-probability of the recorded action, if there is a policy head"),
    "agreement": ("share", "share of the steps at which the agent agrees with the recorded action"),
    "first_value": ("reward", "mean value of the agent's action at the first step: its expected discounted return"),
    "first_return": ("reward", "mean discounted return of those episodes"),
    "sessions": ("sessions", "number of held-out episodes"),
    "metric": (
        "none",
        "`imitation` if the policy head decides, weighted with `awr_beta`, else `unexplained`; `mean` is minus this metric",
    ),
    "chance": ("of `metric`", "value of that metric without any knowledge: the log of the number of actions, or 1"),
}

BETWEEN = """
## A run on recorded data

`steps` is 0: the run counts in `updates`, which are also the horizontal axis of its plots and trackers. Validation uses
held-out episodes instead of playing. If `first_value` is far above `first_return`, the agent expects more than the data
support: run `seqel evaluate RUN --data FILE`.

"""


def markdown() -> str:
    """Return the tables for the documentation."""
    online, offline = {"": METRICS, "validation.": VALIDATION, "best.": BEST}, {"": OFFLINE, "validation.": HELD_OUT}
    return _table(online) + BETWEEN + _table(offline)


def _table(tables: dict[str, dict[str, tuple[str, str]]]) -> str:
    lines = ["| metric | unit | meaning |", "|---|---|---|"]
    for prefix, table in tables.items():
        lines += [f"| `{prefix}{name}` | {unit} | {meaning} |" for name, (unit, meaning) in table.items()]
    return "\n".join(lines) + "\n"
