"""Settings of a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError

__all__ = ["OnSwap", "ServiceConfig"]

OnSwap = Literal["keep", "rebuild"]


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Limits and choices of a service. Raises ConfigError if one is out of range."""

    sessions: int = 10_000  # open at once
    time_to_live: float = 1_800.0  # seconds after a session's last step
    slots: int = 0  # sessions whose memory is held; 0: as many as fit into `memory`
    memory: int = 1 << 30  # bytes of keys and values
    batch: int = 32  # rows computed together; twice as many where as many wait
    queue: int = 2_048  # steps that may wait
    wait: float = 0.25  # seconds that they may wait, by what batches took lately; more steps are refused
    timeout: float = 10.0  # seconds for a request
    body: int = 1 << 20  # bytes of a request
    body_time: float = 5.0  # seconds in which it must arrive
    history: int = 4_096  # steps that a request without a session may bring
    requests: int = 256  # sub-requests of one batch call
    rate: float = 0.0  # requests per second and key (or address, without keys); 0: no limit
    on_swap: OnSwap = "keep"  # open sessions stay with their agent, or move to the new one

    def __post_init__(self) -> None:
        for name, least in {
            "sessions": 1, "time_to_live": 1e-3, "slots": 0, "memory": 1, "batch": 1, "queue": 1, "wait": 1e-3,
            "timeout": 1e-3, "body": 1, "body_time": 1e-3, "history": 0, "requests": 1, "rate": 0.0,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ConfigError(f"{name}: expected at least {least}, got {value}")
        if self.on_swap not in ("keep", "rebuild"):
            raise ConfigError(f"on_swap: expected 'keep' or 'rebuild', got {self.on_swap!r}")
