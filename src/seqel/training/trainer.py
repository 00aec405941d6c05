"""The base class of all trainers, on environments and on recorded data.

A trainer holds the agent, the learner, the random generators and the metrics since the last record; it is saved and
restored as a whole. The order of work is in `online/loop.py` and `offline/loop.py`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.training.config import RunConfig
from seqel.training.hardware.allocator import settle_memory
from seqel.training.learner import Learner
from seqel.training.record import Record, Validation
from seqel.training.resolve import require_resolved

__all__ = ["Trainer"]


class Trainer(ABC):
    """A run in memory. Subclasses set `agent`, `learner` and `rng` in their constructor.

    `pending_metrics` are the learner's metrics since the last record; `notes` are messages for the next record.
    Set `stop_requested` from outside to end the loop at a point where a checkpoint is exact.
    """

    unit: ClassVar[Literal["steps", "updates"]]  # the unit in which records and checkpoints count
    agent: Agent
    learner: Learner
    rng: np.random.Generator

    def __init__(self, config: RunConfig) -> None:
        """Seed torch and set its number of threads, before the run creates anything else.

        Raises ConfigError if a setting is still "auto": subclasses resolve the config first.
        """
        require_resolved(config)
        self.config, self.device = config, torch.device(config.device)
        self.notes: list[str] = []
        self.pending_metrics: list[dict[str, torch.Tensor]] = []
        self.stop_requested = False
        self.solved = False
        self.on_update: Callable[[Trainer], None] | None = None  # called between records, to show progress
        self.seconds = 0.0  # of training before a resume
        self._began = time.perf_counter()
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        if config.learner.compile == "on":
            self.notes.append("compiling: the first update takes up to a minute longer")

    # -- what the loops use ----------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Environment steps so far; 0 where there is no environment."""
        return 0

    @property
    def updates(self) -> int:
        """Updates of the network so far."""
        return self.learner.updates

    @property
    def count(self) -> int:
        """How far the run is, in `unit`."""
        return self.steps if self.unit == "steps" else self.updates

    @property
    @abstractmethod
    def total(self) -> int:
        """Length of the run in `unit`."""

    @property
    def progress(self) -> float:
        """The fraction of the run that is over, 0 to 1."""
        return min(1.0, self.count / self.total)

    @property
    def elapsed(self) -> float:
        """Seconds of training, including those before a resume."""
        return self.seconds + time.perf_counter() - self._began

    @property
    @abstractmethod
    def best(self) -> float | None:
        """The validation score of the best weights so far; None before the first validation."""

    @property
    def last_agent(self) -> Agent:
        """The agent with the latest weights, which a validation measures."""
        return self.agent

    @property
    def best_agent(self) -> Agent:
        """The agent that is saved when a validation is accepted."""
        return self.last_agent

    def begin(self) -> None:  # noqa: B027 - optional
        """Start a new run. Called once, unless a checkpoint's state is loaded instead."""

    def extend(self) -> None:
        """Continue a finished run whose length was increased."""
        self.solved = False

    @abstractmethod
    def update(self) -> dict[str, torch.Tensor]:
        """Sample a batch, train on it, and move the target network. Returns the learner's metrics."""

    @abstractmethod
    def accept(self, validation: Validation) -> bool:
        """Return whether the validated weights are the best so far."""

    def close(self) -> None:  # noqa: B027 - optional
        """Release resources outside this process."""

    def note(self, text: str) -> None:
        """Add a message to the next record."""
        self.notes.append(text)

    def after_update(self) -> None:
        """Do the housekeeping that every update needs."""
        settle_memory(self.learner.updates, self.device.type)

    def record(
        self, speed: float, metrics: dict[str, float], validation: Validation | None = None, accepted: bool = False
    ) -> Record:
        """Return a record of everything since the last one; clears `pending_metrics` and `notes`."""
        notes = tuple(self.notes)
        self.pending_metrics, self.notes = [], []
        return Record(
            steps=self.steps, seconds=self.elapsed, updates=self.updates, steps_per_second=speed,
            metrics=metrics, validation=validation, accepted=accepted, solved=self.solved, progress=self.progress,
            notes=notes,
        )  # fmt: skip

    def mean_metrics(self) -> dict[str, float]:
        """Return the means of the learner's metrics since the last record."""
        pending = self.pending_metrics
        return {
            name: float(torch.stack([torch.as_tensor(metrics[name]).cpu().float() for metrics in pending]).mean())
            for name in (pending[-1] if pending else ())
        }

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs. It refers to the live arrays: write or copy it before continuing."""
        pending = self.pending_metrics
        return {
            "learner": self.learner.state_dict(),
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "pending_metrics": {
                name: torch.stack([torch.as_tensor(metrics[name]).cpu() for metrics in pending])
                for name in (pending[0] if pending else ())
            },
            "solved": self.solved,
            "notes": list(self.notes),
            "seconds": self.elapsed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """Restore what `state_dict` returned. Returns the environments whose open episode could not be restored.

        Subclasses restore their own parts first and call this last, because that may draw random numbers.
        """
        self.learner.load_state_dict(state["learner"])
        self.rng.bit_generator.state = state["rng"]
        pending = state["pending_metrics"]
        count = max((len(values) for values in pending.values()), default=0)
        self.pending_metrics = [{name: values[i] for name, values in pending.items()} for i in range(count)]
        self.solved = bool(state["solved"])
        self.notes = list(state["notes"])
        self.seconds, self._began = float(state["seconds"]), time.perf_counter()
        torch.set_rng_state(state["torch_rng"])
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"], self.device)
        return []
