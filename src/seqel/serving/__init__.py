"""A service: sessions, micro-batching, versions of agents, and HTTP around them (FastAPI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.serving.config import ServiceConfig
    from seqel.serving.running import make_service, serve
    from seqel.serving.service import Service

__all__ = ["Service", "ServiceConfig", "make_service", "serve"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Service": "seqel.serving.service",
        "ServiceConfig": "seqel.serving.config",
        "make_service": "seqel.serving.running",
        "serve": "seqel.serving.running",
    },
)
