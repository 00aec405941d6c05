"""What every trainer owns and does, whether it learns from environments or from recorded data.

A trainer holds the agent, the learner, the random generators and the metrics since the last record; it is saved and
restored as one value. The loops that decide in which order it works are in `online/loop.py` and `offline/loop.py`.
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

__all__ = ["Trainer"]


class Trainer(ABC):
    """A run in memory. Subclasses set `agent`, `learner` and `rng` in their constructor.

    `pending_metrics` are the learner's metrics since the last record, `notes` the messages that the next record carries.
    Set `stop_requested` from outside to end the loop where a checkpoint is exact.
    """

    unit: ClassVar[Literal["steps", "updates"]]  # what records and checkpoints are counted by
    agent: Agent
    learner: Learner
    rng: np.random.Generator

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        """Seed torch and set its number of threads, before anything else of the run is made."""
        self.config, self.device = config, device
        self.notes: list[str] = []
        self.pending_metrics: list[dict[str, torch.Tensor]] = []
        self.stop_requested = False
        self.solved = False
        self.best: float | None = None  # validation score of the best weights so far
        self.on_update: Callable[[Trainer], None] | None = None  # called between records, to show progress
        self.seconds = 0.0  # of earlier sittings
        self._began = time.perf_counter()
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        if config.learner.compile == "on":
            self.notes.append("compiling the update takes up to a minute before the first one, once")

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
        """How far it is to go, in `unit`."""

    @property
    def progress(self) -> float:
        """The fraction of the run that is over, 0 to 1."""
        return min(1.0, self.count / self.total)

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier sittings included."""
        return self.seconds + time.perf_counter() - self._began

    @property
    def best_agent(self) -> Agent:
        """The agent that is saved when a validation is accepted."""
        return self.agent

    def begin(self) -> None:  # noqa: B027 - optional
        """Start from nothing: called once, unless the state of a checkpoint is loaded instead."""

    def extend(self) -> None:
        """Go on after the run had ended, because more was asked for."""
        self.solved = False

    @abstractmethod
    def update(self) -> dict[str, torch.Tensor]:
        """Sample a batch, learn from it, move the target network.  -> the learner's metrics."""

    @abstractmethod
    def accept(self, validation: Validation, solved: bool = False) -> bool:
        """Whether the validated weights are the best so far. `solved`: further episodes have confirmed the threshold."""

    def close(self) -> None:  # noqa: B027 - optional
        """Release what is held outside this process."""

    def after_update(self) -> None:
        """Housekeeping that every update needs."""
        settle_memory(self.learner.updates, self.device.type)

    def record(
        self, speed: float, metrics: dict[str, float], validation: Validation | None = None, accepted: bool = False
    ) -> Record:
        """A record of everything since the last one; empties `pending_metrics` and `notes`."""
        notes = tuple(self.notes)
        self.pending_metrics, self.notes = [], []
        return Record(
            steps=self.steps, seconds=self.elapsed, updates=self.updates, steps_per_second=speed,
            metrics=metrics, validation=validation, accepted=accepted, solved=self.solved, progress=self.progress,
            notes=notes,
        )  # fmt: skip

    def mean_metrics(self) -> dict[str, float]:
        """Means of the learner's metrics since the last record."""
        pending = self.pending_metrics
        return {
            name: float(torch.stack([torch.as_tensor(metrics[name]).cpu().float() for metrics in pending]).mean())
            for name in (pending[-1] if pending else ())
        }

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact resume needs. Refers to the live arrays: write it, or copy it, before going on."""
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
            "best": self.best,
            "notes": list(self.notes),
            "seconds": self.elapsed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """The inverse of `state_dict`.  -> the environments whose open episode could not be restored.

        Subclasses restore their own parts first and call this last: what they do may draw random numbers.
        """
        self.learner.load_state_dict(state["learner"])
        self.rng.bit_generator.state = state["rng"]
        pending = state["pending_metrics"]
        count = max((len(values) for values in pending.values()), default=0)
        self.pending_metrics = [{name: values[i] for name, values in pending.items()} for i in range(count)]
        self.solved, self.best = bool(state["solved"]), state["best"]
        self.notes = list(state["notes"])
        self.seconds, self._began = float(state["seconds"]), time.perf_counter()
        torch.set_rng_state(state["torch_rng"])
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"], self.device)
        return []
