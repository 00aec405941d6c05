"""A service: sessions, micro-batching, versions of agents, and HTTP around them (FastAPI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.serving.config import ServiceConfig
    from seqel.serving.http.app import make_app
    from seqel.serving.loading import load_served
    from seqel.serving.service import Service
    from seqel.serving.sessions.memory import MemoryStore
    from seqel.serving.sessions.redis import RedisStore

__all__ = ["MemoryStore", "RedisStore", "Service", "ServiceConfig", "load_served", "make_app"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "MemoryStore": "seqel.serving.sessions.memory",
        "RedisStore": "seqel.serving.sessions.redis",
        "Service": "seqel.serving.service",
        "ServiceConfig": "seqel.serving.config",
        "load_served": "seqel.serving.loading",
        "make_app": "seqel.serving.http.app",
    },
)
