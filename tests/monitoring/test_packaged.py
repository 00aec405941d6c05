"""Alert rules and dashboard: what they name is exported, each alert fires in its test, and all are copied out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("yaml")
pytest.importorskip("prometheus_client")

import yaml

from seqel.monitoring.metrics import ServiceMetrics
from seqel.monitoring.packaged import ALERT_TESTS, ALERTS, DASHBOARD, write_rules

PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\b(?:seqel|process)_[a-z_]+\b")
WANTED = {
    "SeqelDown", "SeqelHighLatency", "SeqelErrors", "SeqelRefusals", "SeqelQueueGrowing", "SeqelSessionsNearLimit",
    "SeqelEvictions", "SeqelPrefillShare", "SeqelDrift", "SeqelLargeDrift", "SeqelActionCollapse", "SeqelQOutOfRange",
    "SeqelNoFeedback", "SeqelNotFinite",
}  # fmt: skip


def exported() -> dict[str, set[str]]:
    """Return the names of all samples of a service that has done everything once, with their labels."""
    from prometheus_client.parser import text_string_to_metric_families

    metrics = ServiceMetrics()
    metrics.request("/decide", "POST", 200, 0.1)
    metrics.refused("full")
    metrics.decisions("1", [0], np.ones(1), np.ones(1))
    metrics.feedback(1.0)
    metrics.swap("1")
    metrics.reference(0.0, 1.0, 0.5, ["x"])
    metrics.drift("x", 0.1)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions(part: Any) -> Iterator[str]:
    """Yield every expression of the dashboard, with its variables replaced."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "expr":
                yield value.replace("$__rate_interval", "5m").replace("$instance", ".*")
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def test_every_alert_is_complete() -> None:
    assert {rule["alert"] for rule in rules()} == WANTED
    for rule in rules():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]


def test_every_metric_that_is_named_is_exported_with_the_labels_that_are_used() -> None:
    known = exported()
    dashboard = json.loads(DASHBOARD.read_text())
    texts = [rule["expr"] for rule in rules()] + list(expressions(dashboard))
    named = {name for text in texts for name in NAME.findall(text)}
    assert named <= set(known) and len(named) > 25
    for text in texts:
        for name, matchers in re.findall(r"\b(seqel_[a-z_]+)\{([^}]*)\}", text):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!=|=)", matchers))
            assert labels - {"instance", "job"} <= known[name], text
    unused = {
        name for name in known if name.startswith("seqel_") and not name.endswith(("_created", "_bucket"))
    } - named
    assert unused <= {
        "seqel_start_timestamp_seconds", "seqel_request_duration_seconds_count", "seqel_request_duration_seconds_sum",
        "seqel_batch_rows_count", "seqel_batch_rows_sum", "seqel_batch_duration_seconds_count",
        "seqel_prefill_duration_seconds_count",
    }, "everything that is exported is shown"  # fmt: skip


def test_a_missing_metric_would_be_noticed() -> None:
    assert "seqel_no_such_metric" not in exported()
    assert NAME.findall('rate(seqel_no_such_metric{a="b"}[5m])') == ["seqel_no_such_metric"]


def test_the_tests_cover_every_alert_both_ways() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]:
        for one in test["alert_rule_test"]:
            (fires if one["exp_alerts"] else silent).add(one["alertname"])
    assert fires == silent == WANTED


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules_and_every_alert_fires() -> None:
    assert PROMTOOL is not None
    for command in (["check", "rules", str(ALERTS)], ["test", "rules", str(ALERT_TESTS)]):
        done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, check=False, cwd=ALERTS.parent)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    found = list(expressions(json.loads(DASHBOARD.read_text())))
    records = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(found)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    done = subprocess.run([PROMTOOL, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_consistent() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    assert {panel["type"] for panel in panels} <= {"row", "stat", "timeseries", "heatmap", "table"}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"] and panel["fieldConfig"] is not None
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert {one["name"] for one in board["templating"]["list"]} == {"datasource", "instance"}
    assert "http" not in DASHBOARD.read_text(), "nothing is loaded from elsewhere"


def test_the_files_are_copied_over_older_ones(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text("old")
    written = write_rules(tmp_path)
    assert [path.name for path in written] == ["alerts.yaml", "alerts_test.yaml", "seqel.json"]
    for path, source in zip(written, (ALERTS, ALERT_TESTS, DASHBOARD), strict=True):
        assert path.read_bytes() == source.read_bytes()
