"""The metrics of a service in Prometheus's format: requests, batches, sessions, decisions, feedback and drift.

Names follow Prometheus's conventions (https://prometheus.io/docs/practices/naming): prefix `seqel_`, base units, `_total`
for counters. Every label has a bounded number of values. Methods may be called from several threads.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray
    from prometheus_client.metrics_core import Metric

__all__ = ["CONTENT_TYPE", "MOST_ACTIONS", "MOST_LABELS", "OTHER", "ServiceMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of what `render` returns
MOST_ACTIONS = 50  # actions with a label of their own
MOST_VERSIONS = 5  # versions of the agent whose decisions are kept, the newest ones
MOST_LABELS = 300  # values of any other label
OTHER = "other"  # the label of the values beyond these limits
RECENT = 1_000  # decisions; sums of values that may be negative would be no counters, whose rate can be taken
MEANS = {
    "q_max": "score of the chosen action",
    "q_spread": "by how much the chosen action's score is above another one's",
    "reward": "reported rewards",
}
CODES = 4096  # actions are counted by their codes up to here, and by sorting above

LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # of a batch


class ServiceMetrics:
    """Counts what a service does, in a registry of its own.

    Args:
        actions: the names of the actions, by code from `start`; without them, their numbers are the labels. With several
            action dimensions, the label is "DIMENSION:ACTION", and a decision has an action of each dimension.
        start: the number of the first action.

    Raises MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, actions: Sequence[str] | None = None, start: int = 0) -> None:
        require("prometheus_client")
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self.registry = registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": registry}
        self._requests = Counter("seqel_requests", "HTTP requests", ["route", "method", "status"], **own)
        self._latency = Histogram(
            "seqel_request_duration_seconds", "time to answer a request", ["route"], buckets=LATENCIES, **own
        )
        self._batch_rows = Histogram("seqel_batch_rows", "decisions that were computed together", buckets=ROWS, **own)
        self._batch_seconds = Histogram(
            "seqel_batch_duration_seconds", "time to compute a batch of decisions", buckets=LATENCIES, **own
        )
        self._queue = Gauge("seqel_queue_length", "requests that wait for a batch", **own)
        self._refused = Counter("seqel_refusals", "requests that were refused", ["reason"], **own)
        self._open = Gauge("seqel_sessions_open", "open sessions", **own)
        self._limit = Gauge("seqel_sessions_limit", "largest number of open sessions", **own)
        self._created = Counter("seqel_sessions_opened", "sessions that were opened", **own)
        self._closed = Counter(
            "seqel_sessions_closed", "sessions that ended: closed, expired, evicted", ["reason"], **own
        )
        self._prefill_rows = Counter(
            "seqel_prefill_rows", "sessions whose memory was rebuilt from their history", **own
        )
        self._prefill_seconds = Histogram(
            "seqel_prefill_duration_seconds", "time to rebuild the memory of sessions", buckets=LATENCIES, **own
        )
        self._swaps = Counter("seqel_agent_swaps", "times that another agent was put in service", **own)
        self._swapped = Gauge("seqel_agent_swap_timestamp_seconds", "when the agent was put in service", **own)
        self._psi = Gauge("seqel_drift_psi", "population stability index of a feature", ["feature"], **own)
        self._detected = Counter("seqel_drift_detections", "detected drifts", ["feature"], **own)
        self._reference_q = Gauge("seqel_reference_q_max", "range of q_max in the reference", ["bound"], **own)
        self._reference_top = Gauge(
            "seqel_reference_top_action_share", "share of the most frequent action in the reference", **own
        )
        Gauge("seqel_start_timestamp_seconds", "when the service was started", **own).set(time.time())
        for reason in ("closed", "expired", "evicted"):  # so that their rates are known from the start
            self._closed.labels(reason)
        ProcessCollector(registry=registry)
        self._decisions = _Decisions(actions, start)
        registry.register(self._decisions)
        self._labels: dict[str, set[str]] = {}

    # -- requests and batches --------------------------------------------------------------------------------------------

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. `route` is its template ("/sessions/{id}"), not the path."""
        route = self._bounded("route", route)
        self._requests.labels(route, self._bounded("method", method), str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch of `rows` decisions that took `seconds`."""
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def queue(self, length: int) -> None:
        """Set how many requests wait."""
        self._queue.set(length)

    def refused(self, reason: str) -> None:
        """Count a refused request."""
        self._refused.labels(self._bounded("reason", reason)).inc()

    # -- sessions --------------------------------------------------------------------------------------------------------

    def sessions(self, open_: int, limit: int | None = None) -> None:
        """Set how many sessions are open, and how many can be."""
        self._open.set(open_)
        if limit is not None:
            self._limit.set(limit)

    def sessions_created(self, count: int = 1) -> None:
        """Count opened sessions."""
        self._created.inc(count)

    def sessions_closed(self, reason: str, count: int = 1) -> None:
        """Count ended sessions. reason: "closed" by the client, "expired", or "evicted" to make room."""
        self._closed.labels(self._bounded("closed", reason)).inc(count)

    def prefill(self, rows: int, seconds: float) -> None:
        """Count `rows` sessions whose memory was rebuilt from their history in `seconds`."""
        self._prefill_rows.inc(rows)
        self._prefill_seconds.observe(seconds)

    # -- decisions -------------------------------------------------------------------------------------------------------

    def decisions(self, version: str, actions: ArrayLike, q_max: ArrayLike, q_spread: ArrayLike) -> None:
        """Count a batch of R decisions.

        Args:
            version: of the agent.
            actions: (R,), or (R, M) for several dimensions.
            q_max: (R,) the score of each action. Scores that are not finite are counted apart.
            q_spread: (R,) by how much it is above the score of another action, such as the second best or the mean.
        """
        self._decisions.add(version, np.asarray(actions), np.asarray(q_max), np.asarray(q_spread))

    def feedback(self, reward: ArrayLike) -> None:
        """Count the rewards of one or more decisions."""
        self._decisions.reward(np.asarray(reward, np.float64))

    def swap(self, version: str) -> None:
        """Note that the agent of this version is in service from now on."""
        if self._decisions.use(version):
            self._swaps.inc()
        self._swapped.set(time.time())

    # -- drift -----------------------------------------------------------------------------------------------------------

    def reference(self, q_low: float, q_high: float, top_action_share: float, features: Sequence[str] = ()) -> None:
        """Set what the alert rules compare with: see `Reference.q_range` and `Reference.top_action_share`.

        features: those that are watched; their counts of drifts begin at 0, so that the first one is seen as an increase.
        """
        if math.isfinite(q_low) and math.isfinite(q_high):
            self._reference_q.labels("low").set(q_low)
            self._reference_q.labels("high").set(q_high)
        self._reference_top.set(top_action_share)
        for feature in features:
            self._detected.labels(self._bounded("feature", feature))

    def drift(self, feature: str, psi: float) -> None:
        """Set the population stability index of a feature."""
        self._psi.labels(self._bounded("feature", feature)).set(psi)

    def drift_detected(self, feature: str) -> None:
        """Count a detected drift."""
        self._detected.labels(self._bounded("feature", feature)).inc()

    # -- output ----------------------------------------------------------------------------------------------------------

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format, to be answered with the content type `CONTENT_TYPE`."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self.registry))

    def _bounded(self, label: str, value: str) -> str:
        """Return the value, or `OTHER` if the label has too many values already."""
        known = self._labels.setdefault(label, set())
        if value in known:
            return value
        if len(known) >= MOST_LABELS:
            return OTHER
        known.add(value)
        return value


class _Decisions:
    """Counts of actions, and means of values: updated by whole arrays, which the client's own counters cannot do."""

    def __init__(self, names: Sequence[str] | None, start: int) -> None:
        self._names, self._start = names, start
        self._lock = threading.Lock()
        self._made: dict[str, int] = {}  # version -> decisions
        self._counts: dict[str, dict[str, int]] = {}  # version -> label of an action -> decisions
        self._labels: dict[tuple[int, int], str] = {}  # (dimension, action) -> its label
        self._means: dict[str, float] = {}  # of q_max, q_spread and reward, over the last `RECENT` or so
        self._rewards = self._unusable = 0
        self._version: str | None = None

    def add(self, version: str, actions: NDArray[Any], q_max: NDArray[Any], q_spread: NDArray[Any]) -> None:
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
            self._average("q_spread", q_spread)

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
