"""A queue of decisions that an agent abstained from, and what people decided instead: one file of JSON lines.

    {"kind": "agent", "agent": "maze-1f", "actions": [["left", "right"]], "schema": {...}}   what its actions are called
    {"kind": "step", "agent", "session", "step", "time", "observation", "previous_action", "reward", "action", "abstain",
     "uncertainty", "best"}                                   every step of a session, so that a case has its history
    {"kind": "review", "case", "action", "by", "time"}        what a person decided

Lines are only added, by several processes if need be: the service adds steps, people add reviews. A case is a step with
"abstain"; cases are numbered from 1 in the order of the file. Of several reviews of a case, the last one counts. A step 0
begins a new session, also under a name that was used before.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError, DataError, StorageError
from seqel.safety.fields import unknown
from seqel.storage import append_line

__all__ = ["Case", "ReviewQueue", "ReviewQueueFile", "ReviewedSession", "read_review_queue"]


class ReviewQueueFile:
    """Adds steps to a review queue. Each call is one write to a file opened for appending, so lines of processes do not mix.

    Raises StorageError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            if self._file.tell() and path.read_bytes()[-1:] != b"\n":
                self._file.write(b"\n")  # a line that a crash cut off
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error

    def write(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add one line per entry, plain values."""
        lines = [json.dumps(entry, ensure_ascii=False, separators=(",", ":"), allow_nan=False) for entry in entries]
        if not lines:
            return
        try:
            self._file.write(("\n".join(lines) + "\n").encode())
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot write {self.path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Case:
    """A decision that an agent abstained from."""

    number: int  # from 1
    steps: list[dict[str, Any]]  # of its session up to this step, which is the last one
    review: dict[str, Any] | None = None

    @property
    def step(self) -> dict[str, Any]:
        """The step to decide."""
        return self.steps[-1]


@dataclass(frozen=True)
class ReviewedSession:
    """The steps of one session for training: observation, action and reward of each."""

    name: str
    steps: list[tuple[Any, Any, float]]


@dataclass
class ReviewQueue:
    """The content of a review queue."""

    path: Path
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)  # version -> its line
    sessions: list[list[dict[str, Any]]] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    skipped: int = 0  # lines that could not be read

    @property
    def open(self) -> list[Case]:
        """The cases that no one has decided."""
        return [case for case in self.cases if case.review is None]

    def case(self, number: int) -> Case:
        """Return a case. Raises ConfigError if there is none."""
        if not 1 <= number <= len(self.cases):
            raise ConfigError(f"case: expected a number from 1 to {len(self.cases)}, got {number}")
        return self.cases[number - 1]

    def actions_of(self, case: Case) -> list[list[str]]:
        """Return the names of a case's actions, for each action dimension."""
        found: list[list[str]] = self.agents[case.step["agent"]]["actions"]
        return found

    def decide(self, case: Case, action: Any, by: str = "") -> dict[str, Any]:
        """Add a person's decision: the name of an action, or a list with one for each dimension. It is then on the disk.

        Raises ConfigError: the agent has no such action. StorageError: the file cannot be written.
        """
        names = self.actions_of(case)
        given = action if isinstance(action, list) else [action]
        if len(given) != len(names):
            raise ConfigError(f"action: expected one for each of {len(names)} dimensions, got {action!r:.80}")
        for one, known in zip(given, names, strict=True):
            if str(one) not in known:
                raise ConfigError(f"action: {unknown('action', one, tuple(known))}")
        plain: Any = [str(one) for one in given] if len(names) > 1 else str(given[0])
        entry = {"kind": "review", "case": case.number, "action": plain, "by": by, "time": round(time.time(), 3)}
        append_line(self.path, json.dumps(entry, ensure_ascii=False))
        case.review = entry
        return entry

    def export(self, reward: float = 0.0) -> list[ReviewedSession]:
        """Return the sessions with reviewed cases, for training.

        At a reviewed step, the action is the person's. If another action was taken at that step, the later steps are not a
        consequence of the person's action: a session ends there, with `reward` for that step. Each such step gives a session
        of its own, with the recorded history. A last step without a reported reward has `reward`, too.
        """
        found = []
        for number, steps in enumerate(self.sessions):
            reviews = {
                len(case.steps) - 1: case.review["action"]
                for case in self.cases
                if case.review is not None and case.steps[0] is steps[0]
            }
            if not reviews:
                continue
            name = f"{steps[0]['session']}#{number}"
            rows = [_row(steps, at, reward) for at in range(len(steps))]
            differ = [at for at, action in reviews.items() if rows[at][1] != action and at < len(steps) - 1]
            for at, action in reviews.items():
                if at not in differ:
                    rows[at] = (rows[at][0], action, rows[at][2])
            for at in differ:
                cut = [*rows[:at], (rows[at][0], reviews[at], reward)]
                found.append(ReviewedSession(f"{name}@{at}", cut))
            if not differ:
                found.append(ReviewedSession(name, rows))
        return found


def _row(steps: list[dict[str, Any]], at: int, reward: float) -> tuple[Any, Any, float]:
    """Return the observation of a step, the action that was taken and its reward, as the next step tells them."""
    if at + 1 == len(steps):
        return steps[at]["observation"], steps[at]["action"], reward
    following = steps[at + 1]
    taken, earned = following["previous_action"], following["reward"]
    return steps[at]["observation"], taken, reward if earned is None else float(earned)


def read_review_queue(path: Path) -> ReviewQueue:
    """Read a queue. Lines that are cut off are skipped and counted. Raises DataError if there is no such file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    queue, current = ReviewQueue(path), dict[str, list[dict[str, Any]]]()
    reviews: list[dict[str, Any]] = []
    for line in lines:
        if not line.strip():
            continue
        entry = _entry(line)
        if entry is None:
            queue.skipped += 1
        elif entry["kind"] == "agent":
            queue.agents[entry["agent"]] = entry
        elif entry["kind"] == "review":
            reviews.append(entry)
        elif entry["agent"] not in queue.agents:
            queue.skipped += 1
        else:
            session = current.get(entry["session"])
            if session is None or entry["step"] == 0:
                session = current[entry["session"]] = []
                queue.sessions.append(session)
            session.append(entry)
            if entry["abstain"]:
                queue.cases.append(Case(len(queue.cases) + 1, session[:]))
    for review in reviews:
        if 1 <= review["case"] <= len(queue.cases):
            queue.cases[review["case"] - 1].review = review
        else:
            queue.skipped += 1
    return queue


NEEDED: dict[str, dict[str, type]] = {
    "agent": {"agent": str, "actions": list},
    "step": {"agent": str, "session": str, "step": int, "observation": object, "previous_action": object,
             "reward": object, "action": object, "abstain": bool},
    "review": {"case": int, "action": object},
}  # fmt: skip


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("kind") not in NEEDED:
        return None
    needed = NEEDED[found["kind"]]
    if not all(name in found and isinstance(found[name], kind) for name, kind in needed.items()):
        return None
    return found


def default_name() -> str:
    """Return who reviews, unless told otherwise: the user's name on this machine."""
    return os.environ.get("USER") or os.environ.get("USERNAME") or ""
