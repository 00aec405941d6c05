"""Reading a service's metrics over HTTP, and what is concluded from them."""

from __future__ import annotations

import math
import socket
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client")

from seqel.errors import ConfigError, DataError, SeqelError
from seqel.monitoring import scrape as module
from seqel.monitoring.metrics import ServiceMetrics
from seqel.monitoring.scrape import Scrape, _quantile, metrics_url, read_metrics, summarise
from support_monitoring import served


def busy() -> ServiceMetrics:
    metrics = ServiceMetrics(actions=["stay", "go"])
    metrics.swap("v7")
    metrics.reference(0.0, 2.0, 0.6, ["age", "load"])
    for _ in range(90):
        metrics.request("/decide", "POST", 200, 0.004)
    for _ in range(10):
        metrics.request("/decide", "POST", 200, 0.04)
    metrics.batch(16, 0.01)
    metrics.batch(8, 0.03)
    metrics.sessions(5, limit=50)
    metrics.decisions("v7", np.array([0, 0, 0, 1]), np.full(4, 1.5), np.full(4, 0.25))
    metrics.feedback([1.0, 0.0])
    metrics.drift("age", 0.02)
    return metrics


def test_a_calm_service() -> None:
    metrics = busy()
    with served(metrics.render) as url:
        found = summarise(read_metrics(metrics_url(url)))
    assert found["agent"] == "v7" and found["alerts"] == []
    assert found["error_share"] == 0.0 and found["refusals"] == {} and found["sessions"] == 5
    assert found["sessions_limit"] == 50 and found["batch_rows"] == 12 and found["batch_seconds"] == pytest.approx(0.02)
    assert found["actions"] == {"stay": 0.75, "go": 0.25} and list(found["actions"]) == ["stay", "go"]
    assert found["q_max"] == 1.5 and found["q_range"] == [0.0, 2.0] and found["rewards_per_decision"] == 0.5
    assert 0.0025 < found["latency_p50"] < 0.005 < 0.025 < found["latency_p99"] < 0.05
    assert found["psi"] == {"age": 0.02} and found["drifts"] == {}
    assert found["requests_per_second"] == pytest.approx(100 / found["seconds"])


def test_between_two_scrapes_only_what_happened_counts() -> None:
    metrics = busy()
    with served(metrics.render) as url:
        before = read_metrics(metrics_url(url))
        metrics.decisions("v7", np.array([1, 1]), np.ones(2), np.ones(2))
        for _ in range(4):
            metrics.request("/decide", "POST", 500, 2.0)
        now = read_metrics(metrics_url(url))
    now = Scrape(before.time + 2.0, now.samples)
    found = summarise(now, before)
    assert found["requests_per_second"] == 2.0 and found["error_share"] == 1.0
    assert found["actions"] == {"go": 1.0, "stay": 0.0} and found["decisions_per_second"] == 1.0
    assert found["latency_p50"] > 1.0
    assert any(alert.startswith("errors: 100.0%") for alert in found["alerts"])
    assert any(alert.startswith("latency") for alert in found["alerts"])


def test_after_a_restart_rates_are_those_of_the_new_process() -> None:
    with served(busy().render) as url:
        before = read_metrics(metrics_url(url))
    with served(busy().render) as url:
        now = read_metrics(metrics_url(url))
    assert summarise(now, before)["decisions"] == 4


def evicting(metrics: ServiceMetrics) -> None:
    metrics.sessions_closed("evicted", 3)


def one_action(metrics: ServiceMetrics) -> None:
    metrics.decisions("v7", np.zeros(1_000, int), np.ones(1_000), np.ones(1_000))


def drifting(metrics: ServiceMetrics) -> None:
    metrics.drift("load", 0.4)
    metrics.drift_detected("load")


@pytest.mark.parametrize(
    ("change", "alerts"),
    [
        (lambda metrics: [metrics.request("/", "GET", 503, 0.001) for _ in "ab"], ["errors: 2.0% of requests fail"]),
        (lambda metrics: [metrics.refused("full") for _ in range(3)], ["refusals: 3 requests"]),
        (lambda metrics: metrics.sessions(49), ["sessions: 49 of at most 50 are open"]),
        (evicting, ["evictions: 3 sessions"]),
        (lambda metrics: metrics.prefill(3, 0.04), ["prefill: 50% of the time rebuilds memory"]),
        (one_action, ["actions: 99.9% of the decisions are stay"]),
        (lambda metrics: metrics.decisions("v7", [0, 1], [9e9, 9e9], [1, 1]), ["q_max: 1.798e+07 is outside"]),
        (lambda metrics: metrics.feedback(np.nan), ["not finite: 1 scores or rewards"]),
        (drifting, ["drift: load", "large drift: load"]),
    ],
    ids=["errors", "refusals", "sessions", "evictions", "prefill", "actions", "q_max", "not finite", "drift"],
)
def test_each_alert(change: Any, alerts: list[str]) -> None:
    metrics = busy()
    change(metrics)
    with served(metrics.render) as url:
        found = summarise(read_metrics(metrics_url(url)))
    assert len(found["alerts"]) == len(alerts)
    assert all(one.startswith(text) for one, text in zip(found["alerts"], alerts, strict=True)), found["alerts"]


def test_one_action_is_no_alarm_where_the_reference_has_one_too() -> None:
    metrics = busy()
    metrics.reference(0.0, 2.0, 0.99)
    one_action(metrics)
    with served(metrics.render) as url:
        assert summarise(read_metrics(metrics_url(url)))["alerts"] == []


def test_quantiles_are_interpolated_like_those_of_prometheus() -> None:
    buckets = {"0.1": 0.0, "0.5": 6.0, "1.0": 9.0, "+Inf": 10.0}
    assert _quantile(buckets, 0.3) == pytest.approx(0.1 + 0.4 * 0.5)
    assert _quantile(buckets, 0.75) == pytest.approx(0.5 + 0.5 * 0.5)
    assert _quantile(buckets, 0.99) == 1.0, "beyond the last bucket: its bound"
    assert math.isnan(_quantile({"0.1": 0.0, "+Inf": 0.0}, 0.5)) and math.isnan(_quantile({}, 0.5))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:8000", "http://localhost:8000/metrics"),
        ("http://host", "http://host/metrics"),
        ("https://host/seqel/", "https://host/seqel/metrics"),
        ("http://host:1/metrics", "http://host:1/metrics"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert metrics_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://host", "file:///etc/passwd", "http://", "http://host:no", "http://[::1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected the URL of a service"):
        metrics_url(text)


def test_failures_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/metrics"
        with pytest.raises(SeqelError, match=r"cannot be reached \(.*is the service running"):
            read_metrics(closed, timeout=2.0)
    with served(lambda: b"<html>hello</html>") as url, pytest.raises(DataError, match="text format, got b'<html>hello"):
        read_metrics(url)
    with served(lambda: b"up 1\n") as url, pytest.raises(DataError, match="those of another program"):
        read_metrics(url)
    with served(busy().render, status=403) as url, pytest.raises(SeqelError, match="got HTTP status 403"):
        read_metrics(url)
    monkeypatch.setattr(module, "LIMIT", 100)
    with served(busy().render) as url, pytest.raises(DataError, match="at most 100 bytes"):
        read_metrics(url)
