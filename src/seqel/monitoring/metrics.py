"""The metrics of a service in Prometheus's format: requests, batches, sessions, decisions, feedback and drift.

Names follow Prometheus's conventions (https://prometheus.io/docs/practices/naming): prefix `seqel_`, base units, `_total`
for counters. Every label has a bounded number of values. Methods may be called from several threads.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.extras import require
from seqel.monitoring.decision_counts import OTHER, DecisionCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from prometheus_client import Counter, Histogram

__all__ = ["CONTENT_TYPE", "MOST_LABELS", "ServiceMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of what `render` returns
MOST_LABELS = 300  # values of any other label

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
        self._decisions = DecisionCounts(actions, start)
        registry.register(self._decisions)
        self._labels: dict[str, set[str]] = {}
        self._of_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # by route, method and status

    # -- requests and batches --------------------------------------------------------------------------------------------

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. `route` is its template ("/sessions/{id}"), not the path."""
        found = self._of_requests.get((route, method, status))
        if found is None:
            labels = self._bounded("route", route), self._bounded("method", method)
            found = self._requests.labels(*labels, str(status)), self._latency.labels(labels[0])
            if labels == (route, method):  # of a bounded number
                self._of_requests[route, method, status] = found
        counted, latency = found
        counted.inc()
        latency.observe(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch of `rows` decisions that took `seconds`."""
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def queue(self, length: int) -> None:
        """Set how many requests wait."""
        self._queue.set(length)

    def unread(self, method: str, status: int, count: int) -> None:
        """Count requests that were answered before they were read: their route and duration are not known."""
        self._requests.labels(self._bounded("route", "other"), self._bounded("method", method), str(status)).inc(count)

    def refused(self, reason: str, count: int = 1) -> None:
        """Count refused requests."""
        self._refused.labels(self._bounded("reason", reason)).inc(count)

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

    def decisions(self, version: str, actions: ArrayLike, q_max: ArrayLike, q_gap: ArrayLike) -> None:
        """Count a batch of R decisions.

        Args:
            version: of the agent.
            actions: (R,), or (R, M) for several dimensions.
            q_max: (R,) the score of each action. Scores that are not finite are counted apart.
            q_gap: (R,) by how much it is above the score of another action, such as the second best or the mean.
        """
        self._decisions.add(version, np.asarray(actions), np.asarray(q_max), np.asarray(q_gap))

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
