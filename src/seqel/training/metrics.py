"""Every logged metric: its name, its unit, and what it says. The documentation's table is made from this one."""

from __future__ import annotations

__all__ = ["METRICS"]

METRICS: dict[str, tuple[str, str]] = {
    # name: (unit, meaning)
    "return": ("reward", "mean undiscounted return of the last 100 training episodes, exploration included"),
    "length": ("steps", "mean length of those episodes"),
    "success": ("share", "of those episodes, where the environment reports info['is_success']"),
    "loss": ("none", "squared error over the running variance of the targets (scalar values), or nats (HL-Gauss)"),
    "q": ("reward", "mean value of the actions taken in the sampled windows"),
    "target": ("reward", "mean of the targets those values are pulled to"),
    "target_variance": ("scale^2", "variance of the targets, in units of the squared return scale"),
    "td_error": ("reward", "mean absolute difference of target and value"),
    "gradient_norm": ("none", "before clipping"),
    "learning_rate": ("none", "of the last update"),
    "return_scale": ("reward", "running size of discounted returns: the unit of values, temperatures and bonuses"),
    "replay": ("transitions", "stored"),
}
