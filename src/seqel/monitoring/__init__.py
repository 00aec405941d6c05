"""Monitoring of a service: its metrics, a reference of what the agent was trained on, drift, alert rules and reports.

metrics      what a service counts, in Prometheus's format; `decision_counts` its decisions
features     the numbers by which decisions are monitored
bins         deciles, categories, and the population stability index
summary      statistics of a feature
reference    the distributions of training, in `reference.json`
collect      the decisions that a reference is made of
calibration  thresholds for a given rate of false alarms
detectors    sequential detectors of sudden changes
drift        `DriftMonitor`: compares a stream of decisions with the reference
log          the log of decisions, one JSON object per line
comparison   a log compared with the reference
report       the same as an HTML page
scrape       reads and summarises the metrics of a service
packaged     alert rules for Prometheus and a dashboard for Grafana
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.monitoring.drift import Drift, DriftMonitor
    from seqel.monitoring.features import FeatureMap
    from seqel.monitoring.log import DecisionRecord, read_log
    from seqel.monitoring.metrics import ServiceMetrics
    from seqel.monitoring.packaged import write_rules
    from seqel.monitoring.reference import Reference

__all__ = [
    "DecisionRecord", "Drift", "DriftMonitor", "FeatureMap", "Reference", "ServiceMetrics", "read_log", "write_rules",
]  # fmt: skip

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "DecisionRecord": "seqel.monitoring.log",
        "Drift": "seqel.monitoring.drift",
        "DriftMonitor": "seqel.monitoring.drift",
        "FeatureMap": "seqel.monitoring.features",
        "Reference": "seqel.monitoring.reference",
        "ServiceMetrics": "seqel.monitoring.metrics",
        "read_log": "seqel.monitoring.log",
        "write_rules": "seqel.monitoring.packaged",
    },
)
