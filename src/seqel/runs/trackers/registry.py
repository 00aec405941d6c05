"""Trackers by name, and all trackers of a run as one that never fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError
from seqel.runs.trackers.base import Tracker
from seqel.runs.trackers.tensorboard import TensorBoardTracker
from seqel.runs.trackers.wandb import WandbTracker
from seqel.training.config import RunConfig
from seqel.training.record import Record

__all__ = ["TRACKERS", "TrackerWarning", "Trackers", "open_trackers"]

TRACKERS: dict[str, Callable[[], Tracker]] = {"tensorboard": TensorBoardTracker, "wandb": WandbTracker}
MOST_FAILURES = 3  # in a row; a tracker that waits for a dead network is then left alone


class TrackerWarning(UserWarning):
    """A tracker failed; the run continues, and metrics.jsonl has every record."""


def open_trackers(given: Sequence[str | Tracker]) -> list[Tracker]:
    """Trackers from their names; what is a tracker already stays.

    Raises:
        ConfigError: a name is unknown. MissingExtraError: its library is not installed.
    """
    found: list[Tracker] = []
    for one in given:
        if isinstance(one, str):
            if one not in TRACKERS:
                raise ConfigError(f"trackers: expected one of {', '.join(TRACKERS)}, got {one!r}")
            found.append(TRACKERS[one]())
        elif isinstance(one, Tracker):
            found.append(one)
        else:
            raise ConfigError(
                f"trackers: expected names ({', '.join(TRACKERS)}) or objects with start, log and finish, got {one!r:.120}"
            )
    return found


class Trackers:
    """Tells each tracker of a run what happens. The first failure of one is a `TrackerWarning`, and after three in a row
    it is skipped; a run never ends because of one."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self._failures = dict.fromkeys(range(len(trackers)), 0)
        self._trackers = list(trackers)
        self._warned: set[int] = set()

    def start(self, config: RunConfig, folder: Path) -> None:
        """The run begins or continues."""
        self._tell(lambda tracker: tracker.start(config, folder))

    def log(self, record: Record) -> None:
        """One more record."""
        self._tell(lambda tracker: tracker.log(record))

    def finish(self, summary: dict[str, Any] | None) -> None:
        """The run ended; None: it was interrupted or failed. Trackers that were skipped get it, too."""
        self._tell(lambda tracker: tracker.finish(summary), last=True)

    def _tell(self, what: Callable[[Tracker], None], last: bool = False) -> None:
        for number, tracker in enumerate(self._trackers):
            if self._failures[number] >= MOST_FAILURES and not last:
                continue
            try:
                what(tracker)
            except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the run continues
                self._failures[number] += 1
                self._warn(number, tracker, error)
            else:
                self._failures[number] = 0

    def _warn(self, number: int, tracker: Tracker, error: Exception) -> None:
        if number in self._warned:
            return
        self._warned.add(number)
        reason = " ".join(str(error).split())[:300]
        warnings.warn(
            f"{type(tracker).__name__} failed ({type(error).__name__}: {reason}); the run continues, and metrics.jsonl has "
            "every record",
            TrackerWarning,
            stacklevel=4,
        )
