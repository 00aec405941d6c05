"""The metrics of a service: what is counted, under which names, with which labels, and at what cost."""

from __future__ import annotations

import re
import sys
import time

import numpy as np
import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from seqel.errors import MissingExtraError
from seqel.monitoring.decision_counts import MOST_ACTIONS, MOST_VERSIONS, OTHER
from seqel.monitoring.metrics import MOST_LABELS, ServiceMetrics


def samples(metrics: ServiceMetrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for one in family.samples:
            found.setdefault(one.name, {})[tuple(sorted(one.labels.items()))] = one.value
    return found


def value(metrics: ServiceMetrics, name: str, **labels: str) -> float:
    return samples(metrics)[name][tuple(sorted(labels.items()))]


def test_requests_batches_and_queue() -> None:
    metrics = ServiceMetrics()
    metrics.request("/decide", "POST", 200, 0.003)
    metrics.request("/decide", "POST", 200, 0.03)
    metrics.request("/decide", "POST", 503, 20.0)
    metrics.batch(16, 0.004)
    metrics.queue(3)
    metrics.refused("full")
    metrics.prefill(5, 0.2)
    assert value(metrics, "seqel_requests_total", route="/decide", method="POST", status="200") == 2
    assert value(metrics, "seqel_requests_total", route="/decide", method="POST", status="503") == 1
    bucket = "seqel_request_duration_seconds_bucket"
    assert [value(metrics, bucket, route="/decide", le=le) for le in ("0.0025", "0.005", "0.05", "10.0", "+Inf")] == [
        0, 1, 2, 2, 3,
    ]  # fmt: skip
    assert value(metrics, "seqel_batch_rows_bucket", le="8.0") == 0
    assert value(metrics, "seqel_batch_rows_bucket", le="16.0") == 1
    assert value(metrics, "seqel_batch_duration_seconds_sum") == 0.004
    assert value(metrics, "seqel_queue_length") == 3 and value(metrics, "seqel_refusals_total", reason="full") == 1
    assert (
        value(metrics, "seqel_prefill_rows_total") == 5 and value(metrics, "seqel_prefill_duration_seconds_sum") == 0.2
    )


def test_latency_buckets_reach_from_half_a_millisecond_to_ten_seconds() -> None:
    metrics = ServiceMetrics()
    metrics.request("/", "GET", 200, 0.0004)
    bounds = [dict(labels)["le"] for labels in samples(metrics)["seqel_request_duration_seconds_bucket"]]
    assert bounds[0] == "0.0005" and bounds[-2:] == ["10.0", "+Inf"]


def test_sessions() -> None:
    metrics = ServiceMetrics()
    assert value(metrics, "seqel_sessions_closed_total", reason="evicted") == 0, "known before the first eviction"
    metrics.sessions(7, limit=100)
    metrics.sessions_created()
    metrics.sessions_created(4)
    metrics.sessions_closed("expired", 3)
    metrics.sessions_closed("evicted")
    assert value(metrics, "seqel_sessions_open") == 7 and value(metrics, "seqel_sessions_limit") == 100
    metrics.sessions(6)
    assert value(metrics, "seqel_sessions_open") == 6 and value(metrics, "seqel_sessions_limit") == 100
    assert value(metrics, "seqel_sessions_opened_total") == 5
    assert value(metrics, "seqel_sessions_closed_total", reason="expired") == 3
    assert value(metrics, "seqel_sessions_closed_total", reason="evicted") == 1


def test_decisions_are_counted_by_version_and_action() -> None:
    metrics = ServiceMetrics(actions=["stay", "go"], start=5)
    metrics.decisions("1", np.array([5, 6, 6, 5, 6]), np.ones(5), np.zeros(5))
    metrics.decisions("2", [6], [1.0], [0.0])
    assert value(metrics, "seqel_decisions_total", version="1") == 5
    assert value(metrics, "seqel_actions_total", version="1", action="go") == 3
    assert value(metrics, "seqel_actions_total", version="2", action="go") == 1
    assert len(samples(metrics)["seqel_actions_total"]) == 3


def test_negative_and_large_actions_are_counted_too() -> None:
    metrics = ServiceMetrics()
    metrics.decisions("1", np.array([-2, 10**9, -2]), np.ones(3), np.ones(3))
    assert value(metrics, "seqel_actions_total", version="1", action="-2") == 2
    assert value(metrics, "seqel_actions_total", version="1", action="1000000000") == 1


def test_several_dimensions_have_a_label_each_and_a_decision_counts_once() -> None:
    metrics = ServiceMetrics(actions=["unused"])
    metrics.decisions("1", np.array([[0, 2], [1, 2]]), np.ones(2), np.ones(2))
    assert value(metrics, "seqel_decisions_total", version="1") == 2
    assert value(metrics, "seqel_actions_total", version="1", action="1:2") == 2
    assert value(metrics, "seqel_actions_total", version="1", action="0:1") == 1


def test_labels_are_bounded() -> None:
    metrics = ServiceMetrics()
    for version in range(MOST_VERSIONS + 3):
        metrics.decisions(str(version), np.arange(200), np.ones(200), np.ones(200))
    counted = samples(metrics)["seqel_actions_total"]
    assert len(counted) == MOST_VERSIONS * (MOST_ACTIONS + 1)
    assert value(metrics, "seqel_actions_total", version="7", action=OTHER) == 200 - MOST_ACTIONS
    for number in range(MOST_LABELS + 10):
        metrics.drift(f"f{number}", 0.1)
        metrics.request(f"/{number}", "GET", 404, 0.1)
    assert len(samples(metrics)["seqel_drift_psi"]) == MOST_LABELS + 1
    assert value(metrics, "seqel_requests_total", route=OTHER, method="GET", status="404") == 10


def test_means_weigh_the_last_thousand_and_leave_out_what_is_not_finite() -> None:
    metrics = ServiceMetrics()
    assert samples(metrics).get("seqel_q_max_mean") is None
    metrics.decisions("1", [0, 0], np.array([2.0, 4.0]), [1.0, 1.0])
    assert value(metrics, "seqel_q_max_mean") == 3.0
    metrics.decisions("1", np.zeros(1_000, int), np.full(1_000, 13.0), np.ones(1_000))
    assert value(metrics, "seqel_q_max_mean") == pytest.approx(3.0 + (1 - np.exp(-1)) * 10.0)
    metrics.decisions("1", [0, 0, 0], np.array([np.nan, -np.inf, np.inf]), [1.0, 1.0, 1.0])
    assert value(metrics, "seqel_values_not_finite_total") == 3
    assert value(metrics, "seqel_q_max_mean") == pytest.approx(3.0 + (1 - np.exp(-1)) * 10.0)
    metrics.feedback(-1.5)
    metrics.feedback([-0.5, -1.0])
    assert value(metrics, "seqel_rewards_total") == 3 and -1.5 < value(metrics, "seqel_reward_mean") < -1.49


def test_a_swap_changes_the_version_and_counts_unless_it_is_the_first() -> None:
    metrics = ServiceMetrics()
    metrics.swap("1")
    assert value(metrics, "seqel_agent_swaps_total") == 0 and value(metrics, "seqel_agent_info", version="1") == 1
    metrics.swap("2")
    metrics.swap("2")
    assert value(metrics, "seqel_agent_swaps_total") == 1
    assert list(samples(metrics)["seqel_agent_info"]) == [(("version", "2"),)]
    assert abs(value(metrics, "seqel_agent_swap_timestamp_seconds") - time.time()) < 60


def test_drift_and_reference() -> None:
    metrics = ServiceMetrics()
    metrics.reference(-1.0, 2.0, 0.7, ["x", "y"])
    assert value(metrics, "seqel_drift_detections_total", feature="x") == 0, "the first drift is an increase"
    metrics.drift("x", 0.3)
    metrics.drift_detected("x")
    assert value(metrics, "seqel_drift_detections_total", feature="x") == 1
    assert value(metrics, "seqel_drift_psi", feature="x") == 0.3
    assert value(metrics, "seqel_reference_q_max", bound="high") == 2.0
    assert value(metrics, "seqel_reference_top_action_share") == 0.7
    unknown = ServiceMetrics()
    unknown.reference(float("nan"), float("nan"), 0.5)
    assert "seqel_reference_q_max" not in samples(unknown)


def test_names_follow_the_conventions_and_registries_are_separate() -> None:
    one, other = ServiceMetrics(), ServiceMetrics()
    one.sessions_created()
    assert value(other, "seqel_sessions_opened_total") == 0
    for line in one.render().decode().splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert re.fullmatch(r"(seqel|process)_[a-z_]+", name)
            assert (kind == "counter") == name.endswith("_total")


def test_a_batch_of_decisions_costs_little() -> None:
    """Measured at 16 to 20 microseconds of processor time on an idle core; the bound is 50, and the best of 30 counts."""
    metrics, rng = ServiceMetrics(), np.random.default_rng(0)
    actions, q = rng.integers(4, size=16), rng.normal(size=16).astype(np.float32)
    best = np.inf
    for _ in range(30):
        begin = time.process_time()
        for _ in range(200):
            metrics.decisions("1", actions, q, q)
        best = min(best, (time.process_time() - begin) / 200)
    assert best < 50e-6


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r'metrics needs prometheus_client, .*"seqel\[serve\]"'):
        ServiceMetrics()
