"""How good alerts are: mean time between false alarms in calm streams, and delay in streams with a crisis.

A detector gives a number after each message. Thresholds are set so that all detectors give false alarms equally often, in
calm streams that nothing was tuned on. Delays can then be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.tasks.opinion.stream import Stream, in_crisis

__all__ = ["Alerts", "evaluate_alerts", "hours_between_false_alarms", "threshold_for"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alerts:
    """What a detector with one threshold does in streams with crises, whose companies are judged each on its own."""

    delays: list[float]  # hours from onset to the first alert at or after it; the rest of the stream if there was none
    missed: int  # crises without an alert
    before: int  # alerts about companies that were not, or not yet, in a crisis

    @property
    def mean(self) -> float:
        """Mean delay in hours."""
        return float(np.mean(self.delays))


def hours_between_false_alarms(
    streams: Sequence[Stream], scores: Sequence[Numbers], threshold: float, hours: float
) -> float:
    """Return the mean number of company-hours per false alarm in calm streams of so many hours; infinity if there is none.

    A detector starts again after an alert: of each company, only the first alert of a stream counts, and only the hours
    before it (the maximum-likelihood estimate of an exponential time until the first alert).
    """
    exposed, alarms = 0.0, 0
    for stream, numbers in zip(streams, scores, strict=True):
        first = _first(stream, numbers > threshold)
        alarms += int(np.isfinite(first).sum())
        exposed += float(np.minimum(first, hours).sum())
    return exposed / alarms if alarms else float("inf")


def threshold_for(budget: float, streams: Sequence[Stream], scores: Sequence[Numbers], hours: float) -> float:
    """Return the smallest threshold with at least `budget` company-hours between false alarms in these calm streams.

    Raises ConfigError if the streams are too short to tell: fewer than ten false alarms are expected in them.
    """
    exposure = hours * sum(len(stream.onset) for stream in streams)
    if exposure < 10.0 * budget:
        raise ConfigError(
            f"budget: one false alarm in {budget:g} company-hours needs calm streams of at least {10.0 * budget:g} "
            f"company-hours, got {exposure:g}"
        )
    # when the first alert comes depends on which of a company's numbers that exceed all before are above the threshold
    highs = np.unique(
        np.concatenate([_records(stream, numbers) for stream, numbers in zip(streams, scores, strict=True)])
    )
    low, high = 0, len(highs) - 1
    while low < high:
        middle = (low + high) // 2
        if hours_between_false_alarms(streams, scores, float(highs[middle]), hours) >= budget:
            high = middle
        else:
            low = middle + 1
    return float(highs[low])


def evaluate_alerts(streams: Sequence[Stream], scores: Sequence[Numbers], threshold: float, hours: float) -> Alerts:
    """Return delays and errors of alerts in streams of so many hours. An alert before a crisis does not count for it."""
    delays: list[float] = []
    missed = before = 0
    for stream, numbers in zip(streams, scores, strict=True):
        over = numbers > threshold
        late = in_crisis(stream)
        before += int(np.isfinite(_first(stream, over & ~late)).sum())
        first = _first(stream, over & late)
        struck = np.isfinite(stream.onset)
        missed += int(np.isinf(first[struck]).sum())
        delays += (np.minimum(first, hours) - stream.onset)[struck].tolist()
    return Alerts(delays, missed, before)


def _first(stream: Stream, alert: NDArray[np.bool_]) -> Numbers:
    """Return when the first alert about each company is given, (C,); infinity if there is none."""
    found = np.full(len(stream.onset), np.inf)
    np.minimum.at(found, stream.company[alert], stream.time[alert])
    return found


def _records(stream: Stream, numbers: Numbers) -> Numbers:
    """Return the numbers that exceed all earlier ones of the same company."""
    order = np.argsort(stream.company, kind="stable")
    found = []
    for some in np.split(numbers[order], np.flatnonzero(np.diff(stream.company[order])) + 1):
        before = np.concatenate([[-np.inf], np.maximum.accumulate(some)[:-1]]) if len(some) else some
        found.append(some[some > before])
    return np.concatenate(found)
