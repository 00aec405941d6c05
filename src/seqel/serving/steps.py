"""The steps that a service computes: as a request brings them, and with what is known of their session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.serving.slots import Slot

__all__ = ["Ready", "Step"]


@dataclass(slots=True)
class Step:
    """One step that waits. Its session is in the store, or, without one, `history` is all that is known."""

    record: NDArray[np.void]  # (1,) with the observation
    observation: Any  # as the client sent it
    mask: NDArray[np.bool_]  # (M, A)
    respond: Callable[
        [int, NDArray[np.int64], NDArray[np.float32]], bytes
    ]  # number, action (M,), scores (M, A) -> answer
    session: str | None = None
    number: int | None = None  # that the client expects the step to have; without a session, the steps before it
    reward: float | None = None  # of the last action; None: as it was reported
    previous_action: tuple[int, ...] | None = None  # (M,) if something else acted; counted from 0
    history: NDArray[np.void] | None = None  # (T,) the latest steps, of a step without a session
    future: asyncio.Future[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tries: int = 0


@dataclass(slots=True)
class Ready:
    """A step that can be computed: the number of steps before it, and those records that its memory lacks."""

    step: Step
    steps: int
    records: NDArray[np.void]
    reward: float
    opened: str = ""
    name: str = ""
    mask: NDArray[np.bool_] | None = None  # (M, A) what the request and the agent's shield allow; None: as the request
    shield: NDArray[np.float64] | None = None  # (K,) what the shield knows of the session, this step included
    digest: bytes = b""  # of the session's history for the audit log, this step included
    digest_from: int = 0  # the first step that it covers
    slot: Slot = field(default_factory=lambda: Slot(-1))  # given before it is used
