"""Accounts for requests: who sends them, and what became of them, for the metrics and the log."""

from __future__ import annotations

from collections.abc import Mapping

from seqel.errors import SeqelError
from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.errors import RequestError
from seqel.serving.http.admission import Admission
from seqel.serving.http.keys import Client, Keys, Rates
from seqel.serving.http.logs import JsonLog

__all__ = ["Accounting"]


class Accounting:
    """Checks keys and rates, and counts and logs answers."""

    def __init__(self, keys: Keys, rates: Rates, metrics: ServiceMetrics, log: JsonLog, admission: Admission) -> None:
        self.keys, self.rates, self.metrics, self.log, self.admission = keys, rates, metrics, log, admission

    def identify(self, headers: Mapping[bytes, bytes], address: str) -> Client:
        """Return who asks, and count the request. Raises Unauthorized or TooManyRequests."""
        client = self.keys.client(headers)
        self.rates.spend(client.name if self.keys.used else address)
        return client

    def conclude(
        self, request: str, method: str, route: str, path: str, client: Client | None, status: int, seconds: float,
        error: Exception | None = None,
    ) -> None:  # fmt: skip
        """Count a request that was answered, and log it. error: why it failed; one of the service itself is logged apart."""
        more = {}
        if isinstance(error, RequestError):
            more = {"error": str(error)}
            if error.status in (429, 503):
                self.admission.count(type(error).__name__, str(error))
        elif isinstance(error, SeqelError):  # the request's fault as well
            more = {"error": str(error)}
        elif error is not None:
            more = {"error": f"{type(error).__name__}: {error}"}
            self.log.write("error", "fault", request=request, **more)
        self.metrics.request(route, method, status, seconds)
        level = "info" if status < 500 or status == 503 else "warning"
        if self.log.writes(level):
            self.log.write(
                level, "request", request=request, method=method, path=path[:200], status=status,
                ms=round(1e3 * seconds, 3), client="" if client is None else client.name, **more,
            )  # fmt: skip
