"""The log of decisions: one JSON object per line, written by a service and read for reports.

    {"time": 1796000000.25, "session": "7f3a", "step": 4, "agent": "2026-11-28", "observation": {"age": 41, "plan": "basic"},
     "action": "offer", "reward": 0.0, "q_max": 1.25}

time         seconds since 1970
session      whose decision it is; step counts its decisions from 0
agent        the version that decided
observation  as the client sent it: a row of the table for an agent that was trained on one, else the nested observation as
             numbers, lists and texts; null is a missing number
action       the number of the action, a list of M numbers, or the name in the table
reward       that came with the observation, of the action before; null at the first step
q_max        the score of the action, null if it was not finite
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import DataError, SeqelError
from seqel.monitoring.collect import feature_map
from seqel.spaces import FlatObservation
from seqel.spaces.kinds.registry import KINDS
from seqel.spaces.precision import shifted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.datasets.encoding import Encoding
    from seqel.spaces.leaf import Leaf

__all__ = ["DecisionRecord", "LoggedDecisions", "flat_observation", "read_log"]

LONGEST = 1 << 20  # characters of a line
MOST_PROBLEMS = 20  # that are kept for the report


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One line of the log."""

    time: float
    session: str
    step: int
    agent: str
    observation: Any
    action: Any
    reward: float | None = None
    q_max: float | None = None

    def to_json(self) -> str:
        """Return the line, without its end. Numbers that are not finite become null; arrays become lists."""
        found = {name: _plain(getattr(self, name)) for name in self.__slots__}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> DecisionRecord:
        """Read a line. Raises DataError if it is none."""
        if len(line) > LONGEST:
            raise DataError(f"expected a line of at most {LONGEST:,} characters, got {len(line):,}")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"expected a JSON object, got {line.strip()!r:.60}") from error
        if not isinstance(found, dict) or not {"observation", "action"} <= set(found):
            raise DataError(f"expected an object with observation and action, got {line.strip()!r:.60}")
        try:
            return cls(
                float(found.get("time") or 0.0), str(found.get("session", "")), int(found.get("step") or 0),
                str(found.get("agent", "")), found["observation"], found["action"], _number(found.get("reward")),
                _number(found.get("q_max")),
            )  # fmt: skip
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"expected numbers for time, step, reward and q_max: {error}") from error


@dataclass(frozen=True)
class LoggedDecisions:
    """What a log holds, in the order of its lines: N decisions."""

    rows: NDArray[np.float64]  # (N, F)
    rewards: NDArray[np.float64]  # (N,) NaN where unknown
    times: NDArray[np.float64]  # (N,)
    sessions: list[str]
    agents: list[str]
    unreadable: int  # lines that were left out
    problems: list[str]  # the first of them: file, line, reason

    def __len__(self) -> int:
        """Return N."""
        return len(self.rows)


def read_log(files: Iterable[Path], agent: Agent, last: int = 1_000_000) -> LoggedDecisions:
    """Read logs of an agent's decisions. Lines that cannot be read are counted and left out.

    Args:
        last: only the newest decisions by the order of the lines.

    Raises DataError: a file cannot be read, or no line can.
    """
    from seqel.datasets.encoding import Encoding

    kept = agent.info.get("encoding")
    encoding = None if kept is None else Encoding.from_json(kept)
    features, spec = feature_map(agent), agent.observation_spec
    rows: list[NDArray[np.float64]] = []
    records: list[tuple[float, float, str, str]] = []
    problems: list[str] = []
    unreadable = 0
    for place, line in _lines(files):
        try:
            one = DecisionRecord.from_json(line)
            flat = flat_observation(one.observation, spec.leaves, encoding)
            batch = {path: leaf[None] for path, leaf in flat.items()}
            q_max = math.nan if one.q_max is None else one.q_max
            rows.append(features.rows(batch, _codes(one.action, agent, encoding), [q_max])[0])
        except (SeqelError, TypeError, ValueError, LookupError) as error:
            unreadable += 1
            if len(problems) < MOST_PROBLEMS:
                problems.append(f"{place}: {' '.join(str(error).split())[:200]}")
            continue
        records.append((math.nan if one.reward is None else one.reward, one.time, one.session, one.agent))
        if len(rows) >= 2 * last:
            del rows[:-last], records[:-last]
    rows, records = rows[-last:], records[-last:]
    if not rows:
        raise DataError(f"expected at least one logged decision, got none{'; ' + problems[0] if problems else ''}")
    rewards, times, sessions, agents = (list(column) for column in zip(*records, strict=True))
    return LoggedDecisions(
        np.stack(rows),
        np.array(rewards, np.float64),
        np.array(times, np.float64),
        sessions,
        agents,
        unreadable,
        problems,
    )


def flat_observation(value: Any, leaves: Iterable[Leaf], encoding: Encoding | None = None) -> FlatObservation:
    """Return a logged observation as an agent's flat one, without a batch axis, with NaN where a number is missing.

    Raises SpaceError or DataError: it does not fit.
    """
    if encoding is not None:
        return _row(value, encoding)
    out = FlatObservation()
    for leaf in leaves:
        part = value[leaf.path] if isinstance(value, dict) and leaf.path in value else leaf.pick(value)
        if leaf.kind == "vector":
            numbers = np.array(part, np.float64)  # null becomes NaN
            if numbers.size != math.prod(leaf.shape):
                raise DataError(f"observation {leaf.path!r}: expected {list(leaf.shape)}, got {list(numbers.shape)}")
            if np.isnan(numbers).any():
                out[leaf.path] = np.asarray(shifted(leaf, numbers.reshape(leaf.shape)), np.float64)
                continue
        out[leaf.path] = KINDS[leaf.kind].read(leaf, part, None)
    return out


def _row(value: Any, encoding: Encoding) -> FlatObservation:
    from seqel.datasets.encoding import NUMBERS
    from seqel.datasets.values import is_missing

    if not isinstance(value, dict):
        raise DataError(f"expected a row of the table as an object, got {value!r:.60}")
    numbers = encoding.schema.of_kind("number")
    absent = [name for name in numbers if name not in encoding.missing and is_missing(value.get(name))]
    row = encoding.row({**value, **dict.fromkeys(absent, 0.0)})
    for name in absent:
        row[NUMBERS][numbers.index(name)] = np.nan
    return row


def _codes(action: Any, agent: Agent, encoding: Encoding | None) -> NDArray[np.int64]:
    """Return an action as the agent gives it, (1, M): from numbers, or from the names in the table."""
    given = action if isinstance(action, list) else [action]
    if encoding is not None:
        if isinstance(action, dict):
            given = [action[column] for column in encoding.schema.action_columns]
        found = [
            names.index(one) if isinstance(one, str) else one for one, names in zip(given, encoding.names, strict=True)
        ]
        return np.array([found], np.int64)
    return np.array([given], np.int64).reshape(1, agent.action_spec.dims)


def _lines(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line that is not empty."""
    for path in files:
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield f"{path.name}, line {number}", line
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    """Convert numpy's arrays and numbers, and what JSON has no number for."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        found: Mapping[str, Any] = {str(name): _plain(part) for name, part in value.items()}
        return found
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
