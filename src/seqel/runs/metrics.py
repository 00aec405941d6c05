"""Every logged metric: its name, its unit, and what it says. The documentation's table is made from this one."""

from __future__ import annotations

from seqel.losses.terms.registry import TERMS

__all__ = ["HELD_OUT", "METRICS", "OFFLINE", "VALIDATION", "markdown"]

# name: (unit, meaning). A line of metrics.jsonl has these beside each other; TensorBoard has them under train/.
METRICS: dict[str, tuple[str, str]] = {
    "steps": ("steps", "environment steps so far, all environments together; 0 for a run on recorded data"),
    "seconds": ("seconds", "of training and validation so far, earlier sittings included"),
    "updates": ("updates", "of the network so far"),
    "steps_per_second": (
        "steps / second",
        "since the last record, learning and validation included; updates / second of a run on recorded data",
    ),
    "return": ("reward", "mean undiscounted return of the last 100 training episodes, exploration included"),
    "length": ("steps", "mean length of those episodes"),
    "success": ("share", "of those episodes, where the environment reports `info['is_success']`"),
    "loss": ("none", "squared error over the running variance of the targets (scalar values), or nats (HL-Gauss)"),
    "q": ("reward", "mean value of the actions taken in the sampled windows"),
    "target": ("reward", "mean of the targets those values are pulled to"),
    "target_variance": ("scale^2", "variance of the targets, in units of the squared return scale"),
    "td_error": ("reward", "mean absolute difference of target and value"),
    "gradient_norm": ("none", "before clipping"),
    "learning_rate": ("none", "mean over the updates since the last record"),
    "return_scale": ("reward", "running size of discounted returns: the unit of values, temperatures and bonuses"),
    "replay": ("transitions", "stored"),
    "solved": ("yes or no", "the threshold held on the confirming episodes: the run ended here"),
    "notes": ("text", "what has to be said in words: a checkpoint that was skipped, episodes that a resume lost"),
    "crc32": ("none", "checksum of the line before this entry: a damaged line is left out, and told"),
}

# The keys of a line's "validation", where there was one. TensorBoard has the mean as validation/return, and success.
VALIDATION: dict[str, tuple[str, str]] = {
    "mean": (
        "reward",
        "mean undiscounted return of greedy episodes; of what is on trial, where `learner.acting_weights` is proven",
    ),
    "iqm": ("reward", "interquartile mean of those returns"),
    "interval": ("reward", "95 % bootstrap interval of the mean"),
    "success": ("share", "of those episodes, where the environment reports it"),
    "success_interval": ("share", "95 % Wilson interval of the success rate"),
    "episodes": ("episodes", "how many were played"),
    "cut": ("episodes", "how many of them had to be cut off because they did not end"),
    "seed": ("none", "of the first episode; episode n has this plus n"),
}

# Where sessions are recorded, a line has these beside METRICS, where the objective has the term ...
OFFLINE: dict[str, tuple[str, str]] = {
    term.name: (term.unit, term.meaning) for term in sorted(TERMS, key=lambda term: term.name)
}

# ... and its "validation" is a look at the sessions held out.
HELD_OUT: dict[str, tuple[str, str]] = {
    "mean": (
        "none",
        "what weights are kept by, the larger the better: minus the metric that `metric` names",
    ),
    "unexplained": (
        "share",
        "of the variance of their targets that the values leave unexplained; 1: they know nothing",
    ),
    "td_error": ("reward", "mean absolute difference of target and value"),
    "imitation": ("nats", "of the recorded action, where there is a policy head"),
    "agreement": ("share", "of the steps where the agent would have done what was recorded"),
    "first_value": ("reward", "what the agent expects of a whole session under its own actions, discounted"),
    "first_return": ("reward", "what those sessions earned, discounted"),
    "sessions": ("sessions", "held out"),
    "metric": ("none", "`imitation` where the policy head decides, else `unexplained`: what `mean` is minus of"),
    "chance": ("of `metric`", "what it is where nothing is learnt: the log of the number of actions, or 1"),
}

BETWEEN = """
## A run on recorded data

`steps` is 0: the run counts in `updates`, which are also the horizontal axis of its pictures and trackers. A look at the
sessions held out takes the place of validation.
`first_value` far above `first_return` is hope, not knowledge: ask `seqel evaluate RUN --data FILE`.

"""


def markdown() -> str:
    """The tables, for the documentation."""
    return _table(METRICS, VALIDATION) + BETWEEN + _table(OFFLINE, HELD_OUT)


def _table(learner: dict[str, tuple[str, str]], validation: dict[str, tuple[str, str]]) -> str:
    lines = ["| metric | unit | meaning |", "|---|---|---|"]
    for prefix, table in (("", learner), ("validation.", validation)):
        lines += [f"| `{prefix}{name}` | {unit} | {meaning} |" for name, (unit, meaning) in table.items()]
    return "\n".join(lines) + "\n"
