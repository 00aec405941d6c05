"""The files that come with Seqel for Prometheus and Grafana: alert rules, their tests, and a dashboard."""

from __future__ import annotations

from pathlib import Path

from seqel.storage import atomic_write

__all__ = ["ALERTS", "ALERT_TESTS", "DASHBOARD", "write_rules"]

_HERE = Path(__file__).parent
ALERTS = _HERE / "rules" / "alerts.yaml"
ALERT_TESTS = _HERE / "rules" / "alerts_test.yaml"
DASHBOARD = _HERE / "dashboards" / "seqel.json"


def write_rules(folder: str | Path) -> list[Path]:
    """Copy the alert rules, their tests and the dashboard into a folder, over older copies. Returns their paths.

    Raises StorageError.
    """
    folder, written = Path(folder), []
    for source in (ALERTS, ALERT_TESTS, DASHBOARD):
        target = folder / source.name
        atomic_write(target, source.read_bytes())
        written.append(target)
    return written
