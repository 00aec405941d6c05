"""Reports every batch of decisions: to the metrics, to the drift monitor, and to a file of decisions."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import StorageError
from seqel.monitoring.drift import DriftMonitor
from seqel.monitoring.log import DecisionRecord
from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.records import StepFormat
from seqel.serving.reviewing import Reviewing
from seqel.serving.sessions.ended import shown
from seqel.serving.steps import Ready

__all__ = ["DecisionLog", "Observing"]


REPORTED = 256  # decisions between two reports of the indices of drift
RECENT = 64  # decisions by which sessions that take turns are counted


class DecisionLog:
    """Appends decisions to a file as JSON lines, in the format that `seqel monitor report` reads."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=1 << 16)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error

    def write(
        self,
        agent: str,
        rows: Sequence[Ready],
        records: NDArray[np.void],
        best: NDArray[np.float32],
        actions: NDArray[np.int64],
    ) -> None:
        """Add one line per row, and hand them to the operating system. actions (R, M): as the agent gives them."""
        for row, one in enumerate(rows):
            action = actions[row].tolist()
            line = DecisionRecord(
                float(records["time"][row]), shown(one.step.session), one.steps, agent, one.step.observation,
                action[0] if len(action) == 1 else action, float(one.reward) if one.steps else None, float(best[row]),
            )  # fmt: skip
            self._file.write(line.to_json().encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._file.close()


class Observing:
    """What a `Batcher` tells of its batches.

    drift: compares live input with the training reference; None: there is no reference. log: of decisions; None: none.
    review: the queue of what the agent abstains from; None: none. offset: what is added to actions, which records count from
    0, to have them as the agent gives them, in references and logs.
    """

    def __init__(
        self,
        metrics: ServiceMetrics,
        form: StepFormat,
        drift: DriftMonitor | None = None,
        log: DecisionLog | None = None,
        review: Reviewing | None = None,
        offset: NDArray[np.int64] | None = None,
    ) -> None:
        self.metrics, self.form, self.drift, self.log, self.review = metrics, form, drift, log, review
        self.offset = np.zeros((), np.int64) if offset is None else offset
        self._recent: OrderedDict[str, int] = (
            OrderedDict()
        )  # sessions of the latest decisions, and the number of each one's last
        self._decisions = 0  # so far

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch."""
        self.metrics.batch(rows, seconds)

    def prefill(self, rows: int, seconds: float) -> None:
        """Count memories that were rebuilt."""
        self.metrics.prefill(rows, seconds)

    def decided(
        self, agent: str, rows: Sequence[Ready], records: NDArray[np.void], scores: NDArray[np.float32]
    ) -> None:
        """Count decisions: records (R,), scores (R, M, A), -inf where an action is not allowed."""
        best = scores.max(axis=-1).mean(axis=-1)
        least = np.where(np.isfinite(scores), scores, np.inf).min(axis=-1).mean(axis=-1)
        actions = records["action"]
        self.metrics.decisions(agent, actions if actions.shape[1] > 1 else actions[:, 0], best, best - least)
        given: NDArray[np.int64] = actions + self.offset
        if self.drift is not None:
            self._watch([shown(one.step.session) for one in rows], records, given, best)
        if self.log is not None:
            self.log.write(agent, rows, records, best, given)
        if self.review is not None:
            self.review.write(rows, records, scores)

    def _watch(
        self, sessions: Sequence[str], records: NDArray[np.void], actions: NDArray[Any], best: NDArray[np.float32]
    ) -> None:
        assert self.drift is not None
        together = self._together(sessions)
        for found in self.drift.update(self.form.observation(records), actions, best, sessions=together):
            self.metrics.drift_detected(found.feature)
        before, self._decisions = self._decisions, self._decisions + len(records)
        if before // REPORTED < self._decisions // REPORTED:
            for feature, index in self.drift.psi.items():
                if math.isfinite(index):  # there are enough decisions
                    self.metrics.drift(feature, index)

    def _together(self, sessions: Sequence[str]) -> int:
        """Return how many sessions take turns: those of the latest decisions. Their number decides the thresholds."""
        for row, session in enumerate(sessions):
            name = session or f"\0{self._decisions + row}"  # a decision without a session
            self._recent[name] = self._decisions + row
            self._recent.move_to_end(name)
        while next(iter(self._recent.values())) <= self._decisions + len(sessions) - 1 - RECENT:
            self._recent.popitem(last=False)
        return len(self._recent)
