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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import DataError, SeqelError
from seqel.monitoring.features import feature_map
from seqel.spaces import FlatObservation
from seqel.spaces.kinds.registry import KINDS
from seqel.spaces.precision import shifted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.datasets.encoding import Encoding
    from seqel.deployment.runtime import ExportedAgent
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
    """What logs hold, by time: N decisions."""

    rows: NDArray[np.float64]  # (N, F)
    rewards: NDArray[np.float64]  # (N,) NaN where unknown
    times: NDArray[np.float64]  # (N,)
    sessions: list[str]
    agents: list[str]
    unreadable: int  # lines that were left out
    problems: list[str]  # the first of them: file, line, reason
    steps: list[int] = field(default_factory=list)  # of each decision, its number in its session
    observations: list[FlatObservation] = field(default_factory=list)  # without a batch axis; empty unless asked for
    actions: list[NDArray[np.int64]] = field(default_factory=list)  # (M,) each, as the agent gives them; likewise

    def __len__(self) -> int:
        """Return N."""
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class _Read:
    """A line that was read."""

    record: DecisionRecord
    row: NDArray[np.float64]
    action: NDArray[np.int64] | None
    observation: FlatObservation | None


def read_log(
    files: Iterable[Path],
    agent: Agent | ExportedAgent,
    last: int = 1_000_000,
    *,
    since: float = -math.inf,
    observations: bool = False,
) -> LoggedDecisions:
    """Read logs of an agent's decisions. Lines that cannot be read are counted and left out.

    Decisions of several files, such as those of the replicas of a service, are put in the order of their times; decisions of
    the same time stay in the order of the lines.

    Args:
        last: only the newest decisions.
        since: only decisions from this time on, in seconds since 1970.
        observations: whether to keep the observations and actions as well.

    Raises DataError: a file cannot be read, or no decision is left.
    """
    from seqel.datasets.encoding import Encoding

    kept = agent.info.get("encoding")
    encoding = None if kept is None else Encoding.from_json(kept)
    features, spec = feature_map(agent), agent.observation_spec
    found: list[_Read] = []
    problems: list[str] = []
    unreadable = earlier = 0
    for place, line in _lines(files):
        try:
            one = DecisionRecord.from_json(line)
            if one.time < since:
                earlier += 1
                continue
            flat = flat_observation(one.observation, spec.leaves, encoding)
            batch = {path: leaf[None] for path, leaf in flat.items()}
            q_max = math.nan if one.q_max is None else one.q_max
            codes = _codes(one.action, agent, encoding)
            row = features.rows(batch, codes, [q_max])[0]
        except (SeqelError, TypeError, ValueError, LookupError) as error:
            unreadable += 1
            if len(problems) < MOST_PROBLEMS:
                problems.append(f"{place}: {' '.join(str(error).split())[:200]}")
            continue
        found.append(_Read(one, row, codes[0], flat) if observations else _Read(one, row, None, None))
        if len(found) >= 2 * last:
            found = _newest(found, last)
    found = _newest(found, last)
    if not found:
        late = f"; {earlier:,} are older than asked for" if earlier else ""
        raise DataError(
            f"expected at least one logged decision, got none{'; ' + problems[0] if problems else ''}{late}"
        )
    records = [one.record for one in found]
    return LoggedDecisions(
        np.stack([one.row for one in found]),
        np.array([math.nan if one.reward is None else one.reward for one in records], np.float64),
        np.array([one.time for one in records], np.float64),
        [one.session for one in records],
        [one.agent for one in records],
        unreadable,
        problems,
        [one.step for one in records],
        [one.observation for one in found if one.observation is not None],
        [one.action for one in found if one.action is not None],
    )


def _newest(found: list[_Read], last: int) -> list[_Read]:
    return sorted(found, key=lambda one: one.record.time)[-last:]


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


def _codes(action: Any, agent: Agent | ExportedAgent, encoding: Encoding | None) -> NDArray[np.int64]:
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
