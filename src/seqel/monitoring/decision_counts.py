"""Counts of decisions for Prometheus, updated by whole arrays: actions by version of the agent, and means of values."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from prometheus_client.metrics_core import Metric

__all__ = ["MOST_ACTIONS", "MOST_VERSIONS", "OTHER", "DecisionCounts"]

MOST_ACTIONS = 50  # actions with a label of their own
MOST_VERSIONS = 5  # versions of the agent whose decisions are kept, the newest ones
OTHER = "other"  # the label of the values beyond a limit
RECENT = 1_000  # decisions; sums of values that may be negative would be no counters, whose rate can be taken
MEANS = {
    "q_max": "score of the chosen action",
    "q_gap": "by how much the chosen action's score is above another one's",
    "reward": "reported rewards",
}
CODES = 4096  # actions are counted by their codes up to here, and by sorting above


class DecisionCounts:
    """Counts of actions, and means of values: updated by whole arrays, which the client's own counters cannot do."""

    def __init__(self, names: Sequence[str] | None, start: int) -> None:
        self._names, self._start = names, start
        self._lock = threading.Lock()
        self._made: dict[str, int] = {}  # version -> decisions
        self._counts: dict[str, dict[str, int]] = {}  # version -> label of an action -> decisions
        self._labels: dict[tuple[int, int], str] = {}  # (dimension, action) -> its label
        self._means: dict[str, float] = {}  # of q_max, q_gap and reward, over the last `RECENT` or so
        self._rewards = self._unusable = 0
        self._version: str | None = None

    def add(self, version: str, actions: NDArray[Any], q_max: NDArray[Any], q_gap: NDArray[Any]) -> None:
        with self._lock:
            counts = self._counts.get(version)
            if counts is None:
                counts = self._of_version(version)
            self._made[version] += len(q_max)
            if actions.ndim < 2:
                self._count(counts, actions.reshape(-1), 0)
            else:
                for dimension in range(actions.shape[1]):
                    self._count(counts, actions[:, dimension], dimension, several=True)
            self._average("q_max", q_max)
            self._average("q_gap", q_gap)

    def reward(self, reward: NDArray[np.float64]) -> None:
        with self._lock:
            self._rewards += reward.size
            self._average("reward", reward)

    def use(self, version: str) -> bool:
        """Set the version in service. Returns whether it replaces another one."""
        with self._lock:
            replaced = self._version is not None and self._version != version
            self._version = version
            if version not in self._counts:
                self._of_version(version)
            return replaced

    def _of_version(self, version: str) -> dict[str, int]:
        self._counts[version], self._made[version] = {}, 0
        while len(self._counts) > MOST_VERSIONS:
            oldest = next(iter(self._counts))
            del self._counts[oldest], self._made[oldest]
        return self._counts[version]

    def _count(self, counts: dict[str, int], actions: NDArray[Any], dimension: int, several: bool = False) -> None:
        if not actions.size:
            return
        if actions.min() >= 0 and actions.max() < CODES:
            found = np.bincount(actions)
            codes = found.nonzero()[0]
            number = found[codes]
        else:
            codes, number = np.unique(actions, return_counts=True)
        for code, many in zip(codes.tolist(), number.tolist(), strict=True):
            label = self._labels.get((dimension, code))
            if label is None:
                label = self._label(dimension, code, several)
            counts[label] = counts.get(label, 0) + many

    def _label(self, dimension: int, code: int, several: bool) -> str:
        if len(self._labels) >= MOST_ACTIONS:
            return OTHER
        place = code - self._start
        named = self._names is not None and not several and 0 <= place < len(self._names)
        label = self._names[place] if named and self._names is not None else str(code)
        label = self._labels[dimension, code] = f"{dimension}:{label}" if several else label
        return label

    def _average(self, name: str, values: NDArray[Any]) -> None:
        count, total = values.size, float(values.sum(dtype=np.float64))
        if not math.isfinite(total):
            usable = values[np.isfinite(values)]
            self._unusable += count - usable.size
            count, total = usable.size, float(usable.sum(dtype=np.float64))
        if count:
            mean = total / count
            before = self._means.get(name, mean)
            self._means[name] = before - math.expm1(-count / RECENT) * (mean - before)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, for the registry."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            made, counts = dict(self._made), {version: dict(found) for version, found in self._counts.items()}
            means, rewards, unusable, version = dict(self._means), self._rewards, self._unusable, self._version
        decided = CounterMetricFamily("seqel_decisions", "decisions", labels=["version"])
        taken = CounterMetricFamily("seqel_actions", "decisions, by the chosen action", labels=["version", "action"])
        for one, found in counts.items():
            decided.add_metric([one], made[one])
            for action, many in found.items():
                taken.add_metric([one, action], many)
        yield decided
        yield taken
        for name, text in MEANS.items():
            mean = GaugeMetricFamily(f"seqel_{name}_mean", f"{text}, a mean in which the last {RECENT:,} count most")
            if name in means:
                mean.add_metric([], means[name])
            yield mean
        yield CounterMetricFamily("seqel_rewards", "rewards that were reported", value=rewards)
        yield CounterMetricFamily("seqel_values_not_finite", "scores and rewards that were not finite", value=unusable)
        info = GaugeMetricFamily("seqel_agent_info", "1 for the agent in service", labels=["version"])
        if version is not None:
            info.add_metric([version], 1)
        yield info

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples, so that the registry knows their names."""
        return self.collect()
