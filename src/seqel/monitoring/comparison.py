"""Compares logged decisions with a reference: the figures of a drift report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import DataError, MissingExtraError
from seqel.monitoring.bins import psi, severity
from seqel.monitoring.drift import DriftMonitor
from seqel.monitoring.summary import FeatureSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.monitoring.drift import Drift
    from seqel.monitoring.log import LoggedDecisions
    from seqel.monitoring.reference import Reference

__all__ = ["Comparison", "FeatureComparison", "compare"]

PARTS = 12  # of the log, for the course of the index
FEWEST = 200  # decisions in a part
FEWEST_FOR_INDEX = 1_000  # decisions below which an index is large by chance
RECENT = 256  # decisions, among which the sessions are counted that take turns
BATCH = 16


@dataclass(frozen=True, slots=True)
class FeatureComparison:
    """One feature in the reference and in the log."""

    name: str
    psi: float
    course: tuple[float, ...]  # the index in each part of the log, in order
    reference: FeatureSummary
    live: FeatureSummary
    labels: tuple[str, ...]  # of the bins; the last one is "missing"
    reference_shares: tuple[float, ...]
    live_shares: tuple[float, ...]

    @property
    def severity(self) -> str:
        """The severity of the index, by the conventional limits."""
        return severity(self.psi)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "severity": self.severity}


@dataclass(frozen=True, slots=True)
class Comparison:
    """All features, the one with the largest index first; the rewards; and the drifts that a monitor would have reported."""

    features: tuple[FeatureComparison, ...]
    reward: FeatureSummary
    reference_reward: FeatureSummary | None
    drifts: tuple[Drift, ...]
    decisions: int
    sessions: int
    agents: tuple[str, ...]
    first: float  # times of the first and the last decision, seconds since 1970
    last: float

    @property
    def drifted(self) -> bool:
        """Whether a drift was detected, or a feature has a large index over enough decisions."""
        large = any(one.severity == "large" for one in self.features)
        return bool(self.drifts) or (large and self.decisions >= FEWEST_FOR_INDEX)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "features": [one.as_json() for one in self.features]}


def compare(reference: Reference, logged: LoggedDecisions, *, detect: bool = True) -> Comparison:
    """Compare logged decisions with a reference.

    Args:
        detect: whether to read the log with a `DriftMonitor` as well, in the order of its lines.

    Raises DataError: the log has other features than the reference.
    """
    if logged.rows.shape[1] != len(reference.names):
        raise DataError(f"expected {len(reference.names)} features as in the reference, got {logged.rows.shape[1]}")
    bins, episodes = reference.bins, reference.effective_episodes
    parts = np.array_split(logged.rows, max(1, min(PARTS, len(logged) // FEWEST)))
    counts = np.stack([bins.counts(bins.index(part)) for part in parts])
    live = counts.sum(axis=0)
    index, course = (psi(one, reference.counts, bins.used, episodes) for one in (live, counts))
    found = []
    for place in np.argsort(-index, kind="stable").tolist():
        if not reference.known[place]:
            continue
        labels = bins.labels(place)
        own = [*range(len(labels)), bins.missing]
        found.append(
            FeatureComparison(
                reference.names[place], float(index[place]), tuple(course[:, place].tolist()),
                reference.summaries[place], FeatureSummary.of(logged.rows[:, place]), (*labels, "missing"),
                tuple(reference.shares(place)[own].tolist()), tuple((live[place] / live[place].sum())[own].tolist()),
            )
        )  # fmt: skip
    return Comparison(
        tuple(found), FeatureSummary.of(logged.rewards), reference.reward,
        tuple(_drifts(reference, logged)) if detect else (), len(logged), len({*logged.sessions}),
        tuple(sorted({*logged.agents})), float(logged.times.min()), float(logged.times.max()),
    )  # fmt: skip


def _drifts(reference: Reference, logged: LoggedDecisions) -> list[Drift]:
    try:
        monitor = DriftMonitor(reference)
    except MissingExtraError:
        monitor = DriftMonitor(reference, streams=False)
    found: list[Drift] = []
    rows: NDArray[np.float64] = logged.rows
    for start in range(0, len(rows), BATCH):
        sessions = len({*logged.sessions[max(0, start + BATCH - RECENT) : start + BATCH]})
        found += monitor.update_rows(rows[start : start + BATCH], sessions=sessions)
    return found
