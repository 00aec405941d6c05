"""Reads the metrics of a service over HTTP and summarises them: rates, quantiles, and conditions that need attention."""

from __future__ import annotations

import http.client
import math
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from seqel.errors import ConfigError, DataError, SeqelError
from seqel.extras import require
from seqel.monitoring.bins import LARGE

__all__ = ["Scrape", "metrics_url", "read_metrics", "summarise"]

LIMIT = 16 << 20  # bytes of an answer
SLOW, FAILING, REFUSING, FULL, REBUILDING, ONE_ACTION = 0.5, 0.01, 0.01, 0.9, 0.3, 0.98  # as in rules/alerts.yaml
VARIED = 0.9  # a reference whose most frequent action is rarer has no collapsed actions
FEW = 100  # decisions, below which shares of actions say little
SHOWN = 10  # features

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    """The samples of one answer: name -> labels -> value."""

    time: float  # seconds since 1970
    samples: dict[str, dict[Labels, float]] = field(repr=False)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with these labels; 0 without any."""
        wanted = set(labels.items())
        return sum(value for have, value in self.samples.get(name, {}).items() if wanted <= have)

    def value(self, name: str, **labels: str) -> float:
        """Return the first sample with these labels; NaN without any."""
        wanted = set(labels.items())
        return next((value for have, value in self.samples.get(name, {}).items() if wanted <= have), math.nan)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the samples, summed by the value of one label."""
        found: dict[str, float] = {}
        for have, value in self.samples.get(name, {}).items():
            key = dict(have).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found


def metrics_url(text: str) -> str:
    """Return the address of the metrics from what a user types: host:port, or a URL with or without /metrics.

    Raises ConfigError if it is none.
    """
    url = text if "://" in text else f"http://{text}"
    wrong = f"expected the URL of a service, such as http://localhost:8000, got {text!r:.200}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(wrong) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(wrong)
    path = parts.path.rstrip("/")
    return url if path.endswith("/metrics") else f"{parts.scheme}://{parts.netloc}{path}/metrics"


def read_metrics(url: str, timeout: float = 5.0) -> Scrape:
    """Ask a service for its metrics.

    Raises:
        SeqelError: it cannot be reached, or refuses. DataError: its answer is no metrics. MissingExtraError:
            prometheus-client is not installed.
    """
    require("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with urlopen(Request(url, headers={"Accept": "text/plain"}), timeout=timeout) as answer:
            data = answer.read(LIMIT + 1)
    except HTTPError as error:
        raise SeqelError(f"{url}: expected metrics, got HTTP status {error.code} ({error.reason})") from error
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise SeqelError(
            f"{url} cannot be reached ({reason}): is the service running, and is the address right?"
        ) from error
    if len(data) > LIMIT:
        raise DataError(f"{url}: expected at most {LIMIT:,} bytes of metrics, got more")
    samples: dict[str, dict[Labels, float]] = {}
    try:
        for family in text_string_to_metric_families(data.decode()):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = float(sample.value)
    except (ValueError, KeyError, IndexError, TypeError) as error:  # the parser has no error type of its own
        raise DataError(f"{url}: expected metrics in Prometheus's text format, got {data[:60]!r}") from error
    if "seqel_start_timestamp_seconds" not in samples:
        raise DataError(f"{url}: expected the metrics of a Seqel service, got those of another program")
    return Scrape(time.time(), samples)


def summarise(now: Scrape, before: Scrape | None = None) -> dict[str, Any]:
    """Return a summary of the metrics. Rates, quantiles and shares are those since `before`, or since the service started."""
    start = now.value("seqel_start_timestamp_seconds")
    if before is not None and before.value("seqel_start_timestamp_seconds") != start:
        before = None  # the service was started again
    seconds = max(now.time - (start if before is None else before.time), 1e-3)

    def grown(name: str, **labels: str) -> float:
        return now.total(name, **labels) - (0.0 if before is None else before.total(name, **labels))

    def grown_by(name: str, label: str) -> dict[str, float]:
        earlier = {} if before is None else before.by(name, label)
        return {key: value - earlier.get(key, 0.0) for key, value in now.by(name, label).items()}

    requests, decisions = grown("seqel_requests_total"), grown("seqel_decisions_total")
    statuses = grown_by("seqel_requests_total", "status")
    failed = sum(count for status, count in statuses.items() if status.startswith("5"))
    latency = grown_by("seqel_request_duration_seconds_bucket", "le")
    batches, prefill = grown("seqel_batch_duration_seconds_sum"), grown("seqel_prefill_duration_seconds_sum")
    actions = {
        name: count / decisions for name, count in grown_by("seqel_actions_total", "action").items() if decisions > 0
    }
    psi = now.by("seqel_drift_psi", "feature")
    detected = grown_by("seqel_drift_detections_total", "feature")
    found: dict[str, Any] = {
        "seconds": seconds,
        "up_seconds": now.time - start,
        "agent": next(iter(now.by("seqel_agent_info", "version")), None),
        "requests_per_second": requests / seconds,
        "error_share": failed / requests if requests else 0.0,
        "latency_p50": _quantile(latency, 0.5),
        "latency_p99": _quantile(latency, 0.99),
        "refusals": {name: count for name, count in grown_by("seqel_refusals_total", "reason").items() if count},
        "queue": now.total("seqel_queue_length"),
        "decisions": decisions,
        "decisions_per_second": decisions / seconds,
        "batch_rows": _ratio(grown("seqel_batch_rows_sum"), grown("seqel_batch_rows_count")),
        "batch_seconds": _ratio(batches, grown("seqel_batch_duration_seconds_count")),
        "prefill_share": prefill / (prefill + batches) if prefill + batches > 0 else 0.0,
        "sessions": now.total("seqel_sessions_open"),
        "sessions_limit": now.total("seqel_sessions_limit") or None,
        "sessions_closed": grown_by("seqel_sessions_closed_total", "reason"),
        "actions": dict(sorted(actions.items(), key=lambda one: -one[1])),
        "q_max": now.value("seqel_q_max_mean"),
        "q_range": [now.value("seqel_reference_q_max", bound=bound) for bound in ("low", "high")],
        "q_gap": now.value("seqel_q_gap_mean"),
        "reward": now.value("seqel_reward_mean"),
        "rewards_per_decision": _ratio(grown("seqel_rewards_total"), decisions),
        "psi": dict(sorted(psi.items(), key=lambda one: -_order(one[1]))[:SHOWN]),
        "drifts": {name: count for name, count in detected.items() if count},
        "not_finite": grown("seqel_values_not_finite_total"),
    }
    found["alerts"] = _alerts(found, requests, now.value("seqel_reference_top_action_share"))
    return found


def _alerts(found: dict[str, Any], requests: float, top: float) -> list[str]:
    """Return what needs attention: the conditions of rules/alerts.yaml that a single scrape can show."""
    refused, evicted = sum(found["refusals"].values()), found["sessions_closed"].get("evicted", 0.0)
    limit, (low, high) = found["sessions_limit"], found["q_range"]
    action, share = next(iter(found["actions"].items()), ("", 0.0))
    large = [name for name in found["drifts"] if found["psi"].get(name, 0.0) > LARGE]
    full = limit is not None and found["sessions"] > FULL * limit
    collapsed = found["decisions"] > FEW and share > ONE_ACTION and not top > VARIED
    conditions = [
        (found["latency_p99"] > SLOW, f"latency: 1 % of requests take longer than {found['latency_p99']:.3g} s"),
        (found["error_share"] > FAILING, f"errors: {found['error_share']:.1%} of requests fail"),
        (refused > REFUSING * max(requests, 1.0), f"refusals: {refused:,.0f} requests"),
        (full, f"sessions: {found['sessions']:,.0f} of at most {limit or 0:,.0f} are open"),
        (evicted > 0, f"evictions: {evicted:,.0f} sessions"),
        (found["prefill_share"] > REBUILDING, f"prefill: {found['prefill_share']:.0%} of the time rebuilds memory"),
        (collapsed, f"actions: {share:.1%} of the decisions are {action}"),
        (found["q_max"] < low or found["q_max"] > high, f"q_max: {found['q_max']:.4g} is outside the reference"),
        (found["not_finite"] > 0, f"not finite: {found['not_finite']:,.0f} scores or rewards"),
        (bool(found["drifts"]), f"drift: {', '.join(found['drifts'])}"),
        (bool(large), f"large drift: {', '.join(large)}"),
    ]
    return [text for holds, text in conditions if holds]


def _quantile(buckets: dict[str, float], share: float) -> float:
    """Return a quantile from cumulative buckets, by the rule of Prometheus's histogram_quantile; NaN if they are empty."""
    ordered = sorted(
        (math.inf if bound in ("+Inf", "inf") else float(bound), count) for bound, count in buckets.items()
    )
    if not ordered or ordered[-1][1] <= 0:
        return math.nan
    rank = share * ordered[-1][1]
    low, below = 0.0, 0.0
    for bound, count in ordered:
        if count >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - below) / (count - below) if count > below else bound
        low, below = bound, count
    return low


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _order(value: float) -> float:
    return -math.inf if math.isnan(value) else value
