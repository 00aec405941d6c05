"""Helpers of the tests of deploy/: where it is, and the routes of the service."""

from __future__ import annotations

from pathlib import Path

from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.http.app import make_app
from seqel.serving.http.gate import Gate
from seqel.serving.service import Service
from seqel.serving.sessions.memory import MemoryStore

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def routes() -> set[str]:
    """Return the paths of a service."""
    made = make_app(Service(MemoryStore(1, 1.0), ServiceMetrics()))
    assert isinstance(made, Gate)
    return set(made.application.openapi()["paths"])  # type: ignore[attr-defined]
