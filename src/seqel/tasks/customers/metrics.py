"""Metrics of customer service: resolution, containment, escalations, turns, repeat contacts, cost per resolved contact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np

from seqel.errors import DataError
from seqel.tasks.customers.costs import Costs

__all__ = ["CustomerServiceMetrics", "RecordCustomers"]


@dataclass(frozen=True, slots=True)
class CustomerServiceMetrics:
    """Figures of some customers; shares are of all of them."""

    resolution: float  # answered rightly
    containment: float  # never reached a person: answered, rightly or not, or left
    false_containment: float  # contained and not resolved
    escalations_needed: float  # handed over, and out of scope
    escalations_not_needed: float  # handed over, though some answer would have been right
    repeat_contacts: float  # answered wrongly or left, so they are expected to come back
    turns: float  # mean number of things that the agent did for a customer: questions, and what ended it
    cost_per_resolved: (
        float  # what clarifications, escalations and failures cost, per customer resolved; infinity if none was
    )
    reward: float  # mean per customer
    customers: int

    @classmethod
    def of(cls, customers: Iterable[Mapping[str, Any]], costs: Costs) -> CustomerServiceMetrics:
        """Return the figures of customers as `info["customer"]` describes them. Raises DataError if there is none."""
        customers = list(customers)
        if not customers:
            raise DataError("customers: expected at least one finished customer, got none")
        outcome = np.array([one["outcome"] for one in customers])
        asked = np.array([one["asked"] for one in customers], np.float64)
        right, wrong, left = (outcome == name for name in ("right", "wrong", "left"))
        failed = float((wrong | left).mean())
        needed, not_needed = outcome == "handed over, out of scope", outcome == "handed over"
        # the question at which a customer leaves costs nothing besides their leaving
        reward = np.array([one["reward"] for one in customers]) + costs.clarification * (asked - left)
        spent = costs.right * right.sum() - reward.sum()
        return cls(
            resolution=float(right.mean()), containment=float((right | wrong | left).mean()),
            false_containment=failed, escalations_needed=float(needed.mean()),
            escalations_not_needed=float(not_needed.mean()), repeat_contacts=failed,
            turns=float((asked + ~left).mean()),
            cost_per_resolved=float(spent / right.sum()) if right.any() else float("inf"), reward=float(reward.mean()),
            customers=len(customers),
        )  # fmt: skip

    def __str__(self) -> str:
        """Return a line for each figure."""
        lines = []
        for one in fields(self):
            value, name = getattr(self, one.name), one.name.replace("_", " ")
            number = one.name in ("turns", "cost_per_resolved", "reward")
            lines.append(
                f"{name:24} {value:,}" if one.name == "customers" else f"{name:24} {value:{'.3f' if number else '.1%'}}"
            )
        return "\n".join(lines)


class RecordCustomers(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds the customers of each finished shift to a dict, by the seed of the shift. Several environments may share it.

    `seqel.evaluate` plays some shifts twice, because it steps all its environments until the last one is done. By their seed
    they count once.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], shifts: dict[int, list[dict[str, Any]]]) -> None:
        super().__init__(env)
        self.shifts = shifts
        self._seed: int | None = None
        self._customers: list[dict[str, Any]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a shift."""
        self._seed, self._customers = seed, []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step, and note the customer if one is done."""
        found = self.env.step(action)
        if "customer" in found[-1]:
            self._customers.append(found[-1]["customer"])
        if found[2]:
            key = (
                -1 - len(self.shifts) if self._seed is None else self._seed
            )  # without a seed, each shift is another one
            self.shifts[key] = self._customers
        return found
