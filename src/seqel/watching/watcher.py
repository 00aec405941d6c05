"""The agent's number after each message, alerts where it exceeds the threshold, and the messages that caused them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.agent import Agent, AgentState
from seqel.errors import ConfigError
from seqel.spaces import FlatObservation
from seqel.tasks.opinion.monitoring import ALERT, LONGEST, WAIT
from seqel.watching.calibration import Calibration, blank, companies_of, vectors_of
from seqel.watching.messages import Message, when
from seqel.watching.rows import Rows
from seqel.watching.trends import Trends

__all__ = ["Alert", "Watcher"]

CAUSES = 3  # messages that an alert names
KEPT = 12  # latest messages of a company among which they are
LATEST = 200  # alerts that are kept, for the page


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: the agent's score says that a company is in a crisis."""

    time: float  # hours since 1970
    company: str
    score: float  # Q(alert) - Q(wait), in units of reward
    threshold: float
    causes: tuple[tuple[float, float, str], ...]  # time, by how much it raised the score, and text

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        causes = [{"time": when(time), "raised": round(raised, 4), "text": text} for time, raised, text in self.causes]
        return {
            "time": when(self.time), "company": self.company, "score": round(self.score, 4),
            "threshold": round(self.threshold, 4), "messages": causes,
        }  # fmt: skip


class Watcher:
    """Reads messages in order of time, about groups of related companies and about single ones; up to many thousands.

    The agent does not observe its own alerts: it acts as if it had always waited, as when the threshold was set. After a
    false alarm, it would otherwise assume that the crisis is reported, and raise no alert when one begins
    (docs/experiments.md).

    cooldown: hours after an alert without a further alert about the same company.

    Raises ConfigError if the agent was not trained on opinion monitoring, or has a shield.
    """

    def __init__(self, agent: Agent, calibration: Calibration, cooldown: float = 24.0) -> None:
        self.agent, self.calibration, self.cooldown = agent, calibration, cooldown
        self.rows = Rows(companies_of(agent))
        self.companies, self.topics = Trends(), Trends()
        self.alerts: deque[Alert] = deque(maxlen=LATEST)
        if agent.shield is not None:
            raise ConfigError(
                "watch: expected an agent without a shield: alerts are decided by a threshold, not by its rules"
            )
        self._state: AgentState | None = None
        self._number: dict[str, float] = {}  # the latest of each company
        self._recent: dict[str, deque[tuple[float, float, str]]] = {}

    def read(self, messages: Sequence[Message]) -> list[Alert]:
        """Read further messages, in order of time, and return the alerts about them.

        Messages in different rows of the memory are taken in one step of the network; those in one row, one after another.
        """
        if not messages:
            return []
        places = self.rows.places_of(messages)
        self._grow()
        time = np.array([message.time for message in messages])
        seen = blank([message.text[:LONGEST] for message in messages])
        flat = self.agent.observation_spec.flatten(seen, len(messages))
        probabilities = self.calibration.sentiment.probabilities(vectors_of(self.agent, flat))
        sentiments = probabilities.argmax(axis=1)
        self.companies.add([message.company for message in messages], time, sentiments)
        about = [place for place, message in enumerate(messages) if message.topic]
        self.topics.add([messages[place].topic for place in about], time[about], sentiments[about])
        alerts: list[tuple[int, Alert]] = []
        for wave in _waves(places[:, 0]):
            numbers = self._step(flat, places[wave], time[wave], wave)
            for place, number in zip(wave.tolist(), numbers.tolist(), strict=True):
                alert = self._judge(messages[place], number, places[place])
                if alert is not None:
                    alerts.append((place, alert))
        found = [alert for _, alert in sorted(alerts, key=lambda one: one[0])]
        self.alerts.extend(found)
        return found

    def _step(
        self, flat: FlatObservation, places: NDArray[np.int64], time: NDArray[np.float64], wave: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Take one message in each of some rows, and return the agent's numbers."""
        seen = self.rows.observe(places, time)
        batch = {"text": flat["text"][wave], "company": seen.pop("company")[:, None], **seen}
        rows = places[:, 0]
        waited = np.full(len(rows), WAIT)
        decision, self._state = self.agent.act(
            FlatObservation(batch), self._state, reward=0.0, previous_action=waited, rows=rows
        )
        found: NDArray[np.float64] = (decision.q[:, ALERT] - decision.q[:, WAIT]).astype(np.float64)
        return found

    def _judge(self, message: Message, number: float, place: NDArray[np.int64]) -> Alert | None:
        row, company = int(place[0]), int(place[1])
        recent = self._recent.setdefault(message.company, deque(maxlen=KEPT))
        recent.append((message.time, number - self._number.get(message.company, 0.0), message.text[:LONGEST]))
        self._number[message.company] = number
        threshold = self.calibration.alone if row in self.rows.alone else self.calibration.threshold
        if number <= threshold or message.time - self.rows.alerted[row, company] < self.cooldown:
            return None
        self.rows.alerted[row, company] = message.time
        causes = sorted(recent, key=lambda one: -one[1])[:CAUSES]
        return Alert(message.time, message.company, number, threshold, tuple(sorted(causes)))

    def _grow(self) -> None:
        """Make the agent's memory as large as the rows."""
        have, need = 0 if self._state is None else len(self._state), self.rows.capacity
        if need == have:
            return
        new = self.agent.initial_state(need)
        if self._state is not None:
            for name, tensor in self._state.memory.items():
                _put(new.memory[name], tensor)
            new.last_action[:have], new.fresh[:have] = self._state.last_action, self._state.fresh
        self._state = new

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to continue as if nothing had happened."""
        memory = self._state
        return {
            "rows": self.rows.state(), "companies": self.companies.state(), "topics": self.topics.state(),
            "number": dict(self._number),
            "alerts": [[a.time, a.company, a.score, a.threshold, [list(one) for one in a.causes]] for a in self.alerts],
            "recent": {name: [list(one) for one in some] for name, some in self._recent.items()},
            "memory": None if memory is None else
            {"trunk": dict(memory.memory), "last_action": memory.last_action, "fresh": memory.fresh},
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, with the same agent."""
        self.rows.restore(state["rows"])
        self.companies.restore(state["companies"])
        self.topics.restore(state["topics"])
        self._number = dict(state["number"])
        self._recent = {
            name: deque(((a, b, text) for a, b, text in some), maxlen=KEPT) for name, some in state["recent"].items()
        }
        self.alerts = deque(maxlen=LATEST)
        for time, company, score, threshold, causes in state["alerts"]:
            self.alerts.append(Alert(time, company, score, threshold, tuple((a, b, text) for a, b, text in causes)))
        memory, self._state = state["memory"], None
        if memory is not None:
            trunk = {name: tensor.clone().to(self.agent.device) for name, tensor in memory["trunk"].items()}
            self._state = AgentState(trunk, memory["last_action"].copy(), memory["fresh"].copy())


def _waves(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the places of messages (N,) in sets in which each row occurs at most once, and in each row in their order."""
    order = np.argsort(rows, kind="stable")
    begins = np.flatnonzero(np.diff(rows[order], prepend=-1))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
    by_rank = np.argsort(rank, kind="stable")
    return np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])


def _put(large: torch.Tensor, small: torch.Tensor) -> None:
    """Write a state of fewer rows into one of more: their shapes differ in the axis of rows alone."""
    large[tuple(slice(0, size) for size in small.shape)] = small
