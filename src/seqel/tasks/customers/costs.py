"""What each outcome of a customer's request is worth: one table, in TOML, that a company edits.

right = 1.0             # the request was answered
clarification = -0.15   # each question to the customer
escalation = -0.3       # to a person, if the queue is empty
queue = -0.5            # in addition, times the length of the queue from 0 to 1
left = -1.0             # the customer lost patience and left
wrong = -1.0            # a wrong answer, for every intent that is not listed below

[wrong_of]              # a wrong answer to a customer with this intent
lost_or_stolen_card = -5.0
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.tasks.arguments import require_finite

__all__ = ["Costs"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Rewards of the outcomes. Raises ConfigError if one is not a finite number, or a cost is above 0."""

    right: float = 1.0
    clarification: float = -0.15
    escalation: float = -0.3
    queue: float = -0.5
    left: float = -1.0
    wrong: float = -1.0
    wrong_of: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "wrong_of"}
        numbers |= {f"wrong_of.{intent}": value for intent, value in self.wrong_of.items()}
        for name, value in numbers.items():
            require_finite(f"costs: {name}", value)
            if name != "right" and value > 0.0:
                raise ConfigError(f"costs: {name}: expected a cost of at most 0, got {value!r}")

    @classmethod
    def read(cls, path: str | Path) -> Costs:
        """Read a table. Raises ConfigError if it is not TOML, or has an entry that is not known."""
        try:
            table: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: expected a table of costs in TOML, but {error}") from error
        known = {one.name for one in fields(cls)}
        if other := sorted(table.keys() - known):
            raise ConfigError(f"{path}: expected entries among {', '.join(sorted(known))}, got {other[0]!r}")
        if not isinstance(table.get("wrong_of", {}), dict):
            raise ConfigError(f"{path}: wrong_of: expected a table of intents, got {table['wrong_of']!r}")
        return cls(**table)

    def wrong_by_intent(self, intents: Sequence[str]) -> NDArray[np.float64]:
        """Return what a wrong answer to a customer with each intent is worth, (N,).

        Raises ConfigError if the table names an intent that does not exist.
        """
        if other := sorted(self.wrong_of.keys() - set(intents)):
            raise ConfigError(f"costs: wrong_of: expected names of intents, such as {intents[0]!r}, got {other[0]!r}")
        return np.array([self.wrong_of.get(intent, self.wrong) for intent in intents])
