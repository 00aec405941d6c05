"""Detectors of a crisis that look at one company at a time: the charts of statistics, and the rules that firms use.

Each takes the messages of a stream in order of time and gives a number after each message, for the company that it is about.
An alert is raised where the number exceeds a threshold, chosen for a false-alarm rate (`seqel.tasks.opinion.metrics`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.opinion.sentences import NEGATIVE
from seqel.tasks.opinion.stream import BAD, CALM

__all__ = [
    "ClassifiedMessages",
    "Detector",
    "cusum",
    "last_hour",
    "likelihood_ratios",
    "seven_days",
    "seven_days_and_a_half",
    "shiryaev_roberts",
    "siegmund",
    "volume",
]  # fmt: skip

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassifiedMessages:
    """What is known of messages in order of time: all but the truth."""

    time: Numbers  # (N,) hours
    company: NDArray[np.int64]  # (N,)
    probabilities: Numbers  # (N, 3) of the sentiments, by a calibrated classifier


Detector = Callable[[ClassifiedMessages], Numbers]  # -> (N,)


def likelihood_ratios(probabilities: Numbers, prior: Numbers, size: float) -> Numbers:
    """Return the log-likelihood ratio of each message, in a crisis of a given size against calm times, (N,).

    probabilities (N, 3) are the classifier's, which was trained where the sentiments had the shares `prior` (3,). By Bayes'
    rule the likelihood of a message under a sentiment is proportional to its probability / prior.
    """
    likelihood = probabilities / prior
    bad = CALM + size * (BAD - CALM)
    found: Numbers = np.log((likelihood @ bad) / (likelihood @ CALM))
    return found


def cusum(prior: Numbers, size: float) -> Detector:
    """Return Page's CUSUM chart: S = max(0, S + log-likelihood ratio). Page 1954; optimal for one known change."""

    def detect(read: ClassifiedMessages) -> Numbers:
        ratio, found = likelihood_ratios(read.probabilities, prior, size), np.zeros(len(read.time))
        for places in _by_company(read):
            # max(0, S + x) is the sum so far less the smallest sum so far
            total = ratio[places].cumsum()
            found[places] = total - np.minimum.accumulate(np.minimum(total, 0.0))
        return found

    return detect


def shiryaev_roberts(prior: Numbers, size: float) -> Detector:
    """Return log R of the Shiryaev-Roberts procedure: R = (1 + R) exp(log-likelihood ratio). Roberts 1966."""

    def detect(read: ClassifiedMessages) -> Numbers:
        ratio, found = likelihood_ratios(read.probabilities, prior, size), np.zeros(len(read.time))
        for places in _by_company(read):
            level = -np.inf
            for place in places:
                level = np.logaddexp(0.0, level) + ratio[place]
                found[place] = level
        return found

    return detect


def last_hour(read: ClassifiedMessages) -> Numbers:
    """Return negative messages of the last hour over their mean per hour in the 12 hours before."""
    recent, before = _window(read, 0.0, 1.0), _window(read, 1.0, 13.0) / 12.0
    found: Numbers = recent / (before + 0.25)  # a quarter of a message per hour: no alert about a company's first one
    return found


def seven_days(read: ClassifiedMessages) -> Numbers:
    """Return by how many standard deviations the last 24 hours' negative messages exceed the mean of the last 7 days."""
    days = np.stack([_window(read, 24.0 * day, 24.0 * (day + 1)) for day in range(8)])
    known = np.arange(1, 8)[:, None] * 24.0 <= read.time  # days that were observed in full
    count = known.sum(axis=0)
    mean = np.where(known, days[1:], 0.0).sum(axis=0) / count.clip(min=1)
    variance = np.where(known, np.square(days[1:] - mean), 0.0).sum(axis=0) / (count - 1).clip(min=1)
    found: Numbers = np.where(count > 1, (days[0] - mean) / np.sqrt(variance + 1.0), 0.0)
    return found


def seven_days_and_a_half(read: ClassifiedMessages) -> Numbers:
    """Return the last 24 hours' negative messages over the daily mean of the last 7 days (firms alert at 150 %)."""
    past = np.clip(read.time - 24.0, 1.0, 168.0) / 24.0
    found: Numbers = _window(read, 0.0, 24.0) / (_window(read, 24.0, 192.0) / past + 1.0)
    return found


def volume(read: ClassifiedMessages) -> Numbers:
    """Return all messages of the last hour over their mean per hour in the 24 hours before: sentiment is not looked at."""
    recent, before = _window(read, 0.0, 1.0, all_messages=True), _window(read, 1.0, 25.0, all_messages=True)
    found: Numbers = recent / (before / 24.0 + 0.25)
    return found


def siegmund(threshold: float, change: float, deviation: float) -> float:
    """Return the mean number of messages until CUSUM's statistic exceeds a threshold, if increments are normal.

    change: their mean; deviation: their standard deviation. Siegmund 1985, Sequential Analysis, eq. 2.57: the threshold is
    made larger by 2 * 0.583 standard deviations, because the statistic jumps over it.
    """
    drift = change / deviation
    height = threshold / deviation + 2.0 * 0.583
    if abs(drift) < 1e-9:
        return height**2
    return float((np.exp(-2.0 * drift * height) + 2.0 * drift * height - 1.0) / (2.0 * drift**2))


def _window(read: ClassifiedMessages, newest: float, oldest: float, all_messages: bool = False) -> Numbers:
    """Sum the probabilities that messages of the same company, from `newest` to below `oldest` hours old, are negative."""
    weight = np.ones(len(read.time)) if all_messages else read.probabilities[:, NEGATIVE]
    found = np.zeros(len(read.time))
    for places in _by_company(read):
        time = read.time[places]
        total = np.concatenate([[0.0], weight[places].cumsum()])
        until = np.searchsorted(time, time - newest, side="right")
        since = np.searchsorted(time, time - oldest, side="right")
        found[places] = total[until] - total[since]
    return found


def _by_company(read: ClassifiedMessages) -> Iterator[NDArray[np.int64]]:
    """Yield the places of each company's messages, in order of time."""
    order = np.argsort(read.company, kind="stable")
    bounds = np.flatnonzero(np.diff(read.company[order])) + 1
    yield from np.split(order, bounds)
