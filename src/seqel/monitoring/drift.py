"""Drift: whether the decisions of a service still look like those of the reference.

Two kinds of detector read every decision:

* the population stability index of each feature, over sliding windows of several lengths;
* sequential detectors on two scalar streams (`detectors.py`), which notice a sudden change within the service sooner.

Their thresholds are calibrated for a rate of false alarms over everything together (`calibration.py`). The conventional
thresholds of 0.1 and 0.25 ignore the size of the window and the autocorrelation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import ConfigError
from seqel.monitoring.bins import indices, severity
from seqel.monitoring.calibration import CHECKS, CONCURRENCY, WINDOWS, distribution_thresholds
from seqel.monitoring.detectors import StreamDetectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from seqel.monitoring.reference import Reference

__all__ = ["FALSE_ALARMS", "MARGIN", "SHARE", "Drift", "DriftMonitor"]

FALSE_ALARMS = 1e-4  # per decision, over all features
SHARE = 0.6  # of the false alarms that are for the indices; the others are for the sequential detectors
MARGIN = 3.0  # thresholds are set for this many times fewer false alarms, because calm streams are simulated
FLOOR = 0.02  # a smaller index is of no practical importance, however certain
RELEASE = 0.5  # an alarm ends where the index has fallen below this share of its threshold


@dataclass(frozen=True, slots=True)
class Drift:
    """A change that was detected."""

    feature: str
    statistic: (
        float  # population stability index, or the block mean of a stream in standard deviations of the reference
    )
    threshold: float
    decision: int  # how many decisions had been seen
    window: int  # of so many decisions; 0: a sequential detector
    kind: str  # "small", "moderate" or "large" by the customary limits 0.1 and 0.25; "missing values"; "change of mean"

    def __str__(self) -> str:
        if not self.window:
            return f"{self.feature}: its mean has changed (now {self.statistic:+.2g} standard deviations)"
        what = self.kind if self.kind == "missing values" else f"{self.kind} drift"
        return (
            f"{self.feature}: {what}, PSI {self.statistic:.3g} above {self.threshold:.3g} over the last "
            f"{self.window:,} decisions"
        )


class DriftMonitor:
    """Compares a stream of decisions with a reference.

    Args:
        reference: of the agent in service.
        false_alarms: per decision, over all features together.
        windows: lengths in decisions, multiples of the first one, which is a multiple of 20.
        streams: whether to run the sequential detectors, which need river.

    Raises:
        ConfigError: the rate or the windows are invalid. MissingExtraError: river is not installed.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        false_alarms: float = FALSE_ALARMS,
        windows: Sequence[int] = WINDOWS,
        streams: bool = True,
    ) -> None:
        first = windows[0] if windows else 0
        if (
            first < CHECKS
            or first % CHECKS
            or any(one % first for one in windows)
            or list(windows) != sorted({*windows})
        ):
            raise ConfigError(
                f"windows: expected growing multiples of the first one, itself of {CHECKS}, got {windows}"
            )
        if not 0.0 < false_alarms < 1.0:
            raise ConfigError(f"false_alarms: expected a rate per decision between 0 and 1, got {false_alarms}")
        self.reference, self.windows = reference, tuple(windows)
        bins = reference.bins
        rate = false_alarms / MARGIN
        self._streams = StreamDetectors(reference, (1.0 - SHARE) * rate) if streams else None
        self.thresholds = np.maximum(distribution_thresholds(reference, SHARE * rate, windows), FLOOR)
        self.thresholds[:, :, np.tile(~reference.known, 2)] = np.inf
        self._used, self._episodes = bins.used, reference.effective_episodes
        features = len(reference.names)
        self._offset = (np.arange(features) * bins.width).astype(np.intp)
        self._ring = np.zeros((max(windows), features), np.uint8)
        self._counts = np.zeros((len(windows), features * bins.width), np.int64)
        self._next = [one // CHECKS for one in windows]  # the decision of the next check
        self._active = np.zeros((len(windows), 2 * features), bool)
        self._psi = np.full(features, np.nan)
        self._sessions = 0.0  # moving average; 0: no batch yet
        self._level = 0  # of `CONCURRENCY`
        self.seen = 0

    # -- state -----------------------------------------------------------------------------------------------------------

    @property
    def psi(self) -> dict[str, float]:
        """The population stability index of each feature over the shortest window; NaN before it is full."""
        return dict(zip(self.reference.names, self._psi.tolist(), strict=True))

    @property
    def drifting(self) -> list[str]:
        """The features with an active alarm."""
        found: list[bool] = np.any(self._active.reshape(-1, len(self.reference.names)), axis=0).tolist()
        return [name for name, one in zip(self.reference.names, found, strict=True) if one]

    @property
    def concurrency(self) -> int:
        """The number of concurrent sessions that the current thresholds are for."""
        return CONCURRENCY[self._level]

    # -- decisions -------------------------------------------------------------------------------------------------------

    def update(
        self, observation: Mapping[str, Any], action: Any, q_max: Any, *, sessions: int | None = None
    ) -> list[Drift]:
        """Read a batch of R decisions and return the drifts that are newly detected.

        Args:
            observation: a flat observation, each leaf (R, *shape); NaN where a number is missing.
            action: (R,) or (R, M). q_max: (R,) their scores.
            sessions: number of interleaved sessions. Few sessions need higher thresholds, because decisions of one session
                are similar. None: the mean batch size, which is never larger than this number.

        Raises SpaceError: the arrays do not fit the reference's spaces.
        """
        reference = self.reference
        return self.update_rows(reference.features.rows(observation, action, q_max), sessions=sessions)

    def update_rows(self, rows: NDArray[np.float64], *, sessions: int | None = None) -> list[Drift]:
        """Like `update`, with the features of R decisions, (R, F)."""
        if not len(rows):
            return []
        found: list[Drift] = []
        shortest = self.windows[0] // CHECKS
        for start in range(0, len(rows), shortest):  # a large batch is read in parts, each up to a check
            part = rows[start : start + shortest]
            self._follow(len(rows) if sessions is None else max(1, sessions))
            index = self.reference.bins.index(part)
            if self._streams is not None:
                found += [
                    Drift(one.stream, one.value, one.threshold, self.seen + len(part), 0, "change of mean")
                    for one in self._streams.update(index, part[:, -1], self._level)
                ]
            self._push(index)
            for place, window in enumerate(self.windows):
                if self.seen >= self._next[place]:
                    self._next[place] = (self.seen // (window // CHECKS) + 1) * (window // CHECKS)
                    if self.seen >= window:
                        found += self._check(place)
        return found

    def _follow(self, sessions: int) -> None:
        """Adapt the level of concurrency; it falls only where there are clearly fewer sessions."""
        self._sessions = float(sessions) if not self._sessions else 0.99 * self._sessions + 0.01 * sessions
        level = self._level
        while level + 1 < len(CONCURRENCY) and self._sessions >= CONCURRENCY[level + 1] - 1e-6:
            level += 1
        while level and self._sessions < 0.8 * CONCURRENCY[level]:
            level -= 1
        self._level = level

    def _push(self, index: NDArray[np.uint8]) -> None:
        """Add the bins of R decisions, (R, F), to the windows, and remove those that leave them."""
        size, rows = len(self._ring), len(index)
        begin = self.seen % size
        width = self._counts.shape[1]
        added = np.bincount((self._offset + index).ravel(), minlength=width)
        for place, window in enumerate(self.windows):
            self._counts[place] += added
            leaving = self.seen + rows - window
            if leaving <= 0:
                continue
            first = max(self.seen - window, 0)
            at = np.arange(first, leaving) % size
            self._counts[place] -= np.bincount((self._offset + self._ring[at]).ravel(), minlength=width)
        if begin + rows <= size:
            self._ring[begin : begin + rows] = index
        else:
            self._ring[begin:] = index[: size - begin]
            self._ring[: begin + rows - size] = index[size - begin :]
        self.seen += rows

    def _check(self, place: int) -> list[Drift]:
        reference = self.reference
        live = self._counts[place].reshape(len(self._offset), -1).astype(np.float64)
        values = indices(live, reference.counts, self._used, self._episodes)
        thresholds = self.thresholds[self._level, place]
        above = values > thresholds
        elsewhere = self._active.any(axis=0)  # another window has reported it
        new = above & ~elsewhere
        features = len(reference.names)
        if not place:
            self._psi = values[:features]
        self._active[place] = above | (self._active[place] & (values > RELEASE * thresholds))
        return [
            Drift(
                reference.names[one % features], float(values[one]), float(thresholds[one]), self.seen, self.windows[place],
                "missing values" if one >= features else severity(float(values[one])),
            )
            for one in np.flatnonzero(new).tolist()
        ]  # fmt: skip
