"""Checks that several tasks share: of the arguments of their constructors, and of an action."""

from __future__ import annotations

import math
from typing import Any

import gymnasium

from seqel.errors import ConfigError, SpaceError

__all__ = ["require_action", "require_count", "require_finite"]


def require_count(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """Return an argument that has to be an integer of at least `minimum` and at most `maximum`.

    Raises ConfigError.
    """
    within = not isinstance(value, bool) and hasattr(value, "__index__") and value >= minimum
    if not within or (maximum is not None and value > maximum):
        limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ConfigError(f"{name}: expected an integer {limits}, got {value!r}")
    return int(value)


def require_finite(name: str, value: Any) -> None:
    """Raise ConfigError unless an argument is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name}: expected a finite number, got {value!r}")


def require_action(space: gymnasium.Space[Any], action: Any, meaning: str) -> int:
    """Return an action of a Discrete space as an int; `meaning` says in the error what the actions are.

    Raises SpaceError.
    """
    if not space.contains(action):
        raise SpaceError(f"expected {meaning} in {space}, got {action!r}")
    return int(action)
