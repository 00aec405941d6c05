"""Opinion monitoring: read messages about companies as they arrive, and raise an alert soon after a crisis begins.

The sentences are real ones (`seqel.tasks.opinion.sentences`); when they come, and when a crisis begins, is simulated
(`seqel.tasks.opinion.stream`). What is hidden is whether a company is in a crisis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault
from seqel.tasks.arguments import require_action, require_finite
from seqel.tasks.opinion.sentences import SENTIMENTS, SPLITS, Opinions, Split, read_opinions
from seqel.tasks.opinion.stream import Setting, Stream, draw_stream
from seqel.tasks.splits import require_split
from seqel.texts.classes import LabelledTexts

__all__ = ["ALERT", "LONGEST", "WAIT", "Costs", "OpinionMonitoring", "log_hours"]

WAIT, ALERT = 0, 1
LONGEST = 500  # characters of a message
MOST_FATIGUE = (
    5  # alerts in a day beyond which an analyst is not more tired; without a limit, random play costs thousands
)


@dataclass(frozen=True, slots=True)
class Costs:
    """What alerts are worth. Raises ConfigError if a number is not finite, or has the wrong sign."""

    detection: float = 1.0  # the first alert about a company in a crisis
    delay: float = -1.0 / 24.0  # each hour of a crisis before it
    false_alarm: float = -0.5
    fatigue: float = -0.1  # each alert, times the number of alerts in the 24 hours before, at most `MOST_FATIGUE`

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            positive = one.name == "detection"
            require_finite(f"costs: {one.name}", value)
            if value <= 0.0 if positive else value > 0.0:
                expected = "above 0" if positive else "of at most 0"
                raise ConfigError(f"costs: {one.name}: expected a number {expected}, got {value!r}")


class OpinionMonitoring(gymnasium.Env[dict[str, Any], np.int64]):
    """A stream of messages about several companies; after each, wait, or raise an alert about the company that it is about.

    Observation: "text", the message; "company", its number; "gap", the logarithm of 1 + the hours since the message before;
    "same", likewise since the last message about this company; "alerted", hours since the last alert about it, likewise
    (20 if there was none). The times of the messages thus say how many there are.

    Actions: 0, wait; 1, alert. Reward: as in `Costs`; the first alert about a company in a crisis is right; later alerts
    about it, and alerts about calm companies, are false alarms. To wait at a message about a company in a crisis without an
    alert costs the hours until its next message. A delay thus costs in proportion to its length, as in Shiryaev's problem
    of quickest detection (1963, Theory Probab. Appl. 8, 22-46). An episode ends with the stream (terminated). `info` has
    "in_crisis" and "sentiment" of the message, for measuring: the agent does not see them.

    opinions: the sentences, or the path of a CSV file in `encoding` (`read_opinions`).

    Raises DataError (a bad file), ConfigError (a bad argument), SpaceError (an action that does not exist), EnvironmentFault
    (a step without an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(
        self,
        opinions: Opinions | str | Path | None = None,
        split: Split = "train",
        setting: Setting | Mapping[str, Any] | None = None,
        costs: Costs | None = None,
        hours: float = 48.0,
        onset: float | None = None,
        encoding: str = "utf-8",
    ) -> None:
        if opinions is None:
            raise ConfigError(
                "opinions: expected a CSV file with the columns result (negative, neutral or positive) and content (the "
                "sentence), got none; on the command line: --env-arg opinions=FILE"
            )
        if not isinstance(opinions, Opinions):
            opinions = read_opinions(opinions, encoding)
        require_split(split)
        if not math.isfinite(hours) or hours < 1.0:
            raise ConfigError(f"hours: expected at least 1, got {hours}")
        if not isinstance(setting, Setting | Mapping | None):
            raise ConfigError(
                f"setting: expected a Setting or its entries, such as {{companies = 4}} on the command line, got {setting!r}"
            )
        self.setting = Setting(**setting) if isinstance(setting, Mapping) else setting or Setting()
        self.costs, self.hours, self.onset = costs or Costs(), float(hours), onset
        self.opinions, self.sentences = opinions, opinions.sentences[split]
        # what comes next does not depend on the action, and delays are paid for at once: no future has to be learned
        self.metadata = {"render_modes": [], "seqel": {"discount": 0.0, "context": 256}}
        above = spaces.Box(0.0, np.inf, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "text": spaces.Text(LONGEST, min_length=0, charset=opinions.characters),
                "company": spaces.Discrete(self.setting.companies),
                "gap": above,
                "same": above,
                "alerted": above,
            }
        )
        self.action_space = spaces.Discrete(2)
        self._stream: Stream | None = None
        self._place = 0
        self._begin(self.setting.companies)

    def labelled_texts(self) -> LabelledTexts:
        """Return the sentences for training and validation, as they are observed, with their sentiments."""
        train, validation = (
            ([text[:LONGEST] for text in texts], labels) for texts, labels in map(self.opinions.labelled, SPLITS[:2])
        )
        return LabelledTexts(SENTIMENTS, train, validation)

    def _begin(self, companies: int) -> None:
        self._before = np.full(companies, -np.inf)  # time of the last message about each company
        self._alerted = np.full(companies, -np.inf)  # time of the last alert about it
        self._found = np.zeros(companies, np.bool_)  # its crisis has had an alert
        self._alerts: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a stream; one without messages is drawn again. `options={"stream": a Stream}` plays that one."""
        super().reset(seed=seed)
        self._stream = (options or {}).get("stream")
        while self._stream is None or not len(self._stream.time):
            self._stream = draw_stream(self.np_random, self.setting, self.hours, self.onset)
        self._next = _next_of_company(self._stream, self.hours)
        self._place = 0
        self._begin(len(self._stream.onset))
        return self._observe(), self._info()

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        stream = self._stream
        if stream is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        chosen = require_action(self.action_space, action, "0 (wait) or 1 (alert)")
        time, company = float(stream.time[self._place]), int(stream.company[self._place])
        reward = self._alert(time, company) if chosen == ALERT else self._wait(time, company)
        self._before[company] = time
        if self._place + 1 == len(stream.time):
            seen, info = self._observe(), self._info()
            self._stream = None
            return seen, reward, True, False, info
        self._place += 1
        return self._observe(), reward, False, False, self._info()

    def _wait(self, time: float, company: int) -> float:
        """Return the cost of no alert: hours of a crisis until the next message about the company, or the end."""
        assert self._stream is not None
        if time < self._stream.onset[company] or self._found[company]:
            return 0.0
        return self.costs.delay * (float(self._next[self._place]) - time)

    def _alert(self, time: float, company: int) -> float:
        """Raise an alert and return its reward."""
        assert self._stream is not None
        costs = self.costs
        self._alerts = [one for one in self._alerts if time - one < 24.0]
        reward = costs.fatigue * min(MOST_FATIGUE, len(self._alerts))
        if time >= self._stream.onset[company] and not self._found[company]:
            self._found[company] = True
            reward += costs.detection
        else:
            reward += costs.false_alarm
        self._alerts.append(time)
        self._alerted[company] = time
        return float(reward)

    def _observe(self) -> dict[str, Any]:
        stream, place = self._stream, self._place
        assert stream is not None
        time, company = float(stream.time[place]), int(stream.company[place])
        some = self.sentences[int(stream.sentiment[place])]
        gap = time - float(stream.time[place - 1]) if place else time
        return {
            "text": some[int(self.np_random.integers(len(some)))][:LONGEST], "company": np.int64(company),
            "gap": _hours(gap), "same": _hours(time - self._before[company]),
            "alerted": _hours(time - self._alerted[company]),
        }  # fmt: skip

    def _info(self) -> dict[str, Any]:
        stream, place = self._stream, self._place
        assert stream is not None
        company = int(stream.company[place])
        return {
            "time": float(stream.time[place]), "sentiment": int(stream.sentiment[place]),
            "in_crisis": bool(stream.time[place] >= stream.onset[company]),
        }  # fmt: skip


def _next_of_company(stream: Stream, hours: float) -> NDArray[np.float64]:
    """Return when the next message about the company of each message comes; `hours`, if there is none, (N,)."""
    found = np.full(len(stream.time), max(hours, stream.time.max()))
    order = np.argsort(stream.company, kind="stable")
    same = np.flatnonzero(stream.company[order[1:]] == stream.company[order[:-1]])
    found[order[same]] = stream.time[order[same + 1]]
    return found


def _hours(hours: float) -> NDArray[np.float32]:
    """Return hours as an observation, (1,); of one number, because numpy's logarithm of an array takes longer."""
    return np.array([min(20.0, math.log1p(hours))], np.float32)


def log_hours(hours: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return hours as they are observed: log(1 + hours), at most 20."""
    return np.minimum(20.0, np.log1p(hours)).astype(np.float32)
