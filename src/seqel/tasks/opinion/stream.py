"""Streams of messages about companies, with crises that begin at unknown times: the simulator behind the task.

Messages come at random times, each company at its own rate, which drifts, and also grows on busy days on which nothing is
wrong. In a crisis, more of a company's messages are negative, and there may be more of them. A crisis may spread to related
companies. How much of each, and when, differs from stream to stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.tasks.opinion.sentences import SENTIMENTS

__all__ = ["CALM", "TEXTBOOK", "Setting", "Stream", "draw_stream", "in_crisis", "part_of"]

# shares of the sentiments in calm times, and of the messages of a crisis of full size
CALM = np.array([0.12, 0.60, 0.28])
BAD = np.array([0.90, 0.09, 0.01])
NEVER = np.inf


@dataclass(frozen=True, slots=True)
class Setting:
    """What makes the task hard. Raises ConfigError if a number is out of range.

    A pair is the smallest and the largest value, drawn again for each crisis; with two equal numbers it is known.
    """

    companies: int = 8
    rate: float = 1.0  # messages per hour and company, on average
    uneven: float = 0.5  # standard deviation of the logarithm of a company's rate
    drift: float = 0.05  # of the logarithm of the rate from one hour to the next; it returns to its mean within a day
    busy: float = (
        0.01  # probability per hour and company that a busy time begins: 3 times as many messages for 12 hours
    )
    crises: float = 0.7  # probability that a stream has a crisis
    size: tuple[float, float] = (0.3, 1.0)  # how far shares of sentiments go from calm (0) to bad (1)
    volume: tuple[float, float] = (1.0, 3.0)  # messages in a crisis, times those in calm times
    spread: float = 0.5  # probability that a crisis spreads to each related company, within hours

    def __post_init__(self) -> None:
        limits = {"companies": (1, 100_000), "rate": (1e-6, 1e6), "uneven": (0, 3), "drift": (0, 1)}
        for one in fields(self):
            value = getattr(self, one.name)
            low, high = limits.get(one.name, (0.0, 100.0 if one.name == "volume" else 1.0))
            numbers = value if isinstance(value, tuple) else (value,)
            fits = all(isinstance(x, int | float) and not isinstance(x, bool) and low <= x <= high for x in numbers)
            pair = one.name in ("size", "volume")
            if not fits or isinstance(value, tuple) != pair or (pair and (len(value) != 2 or value[0] > value[1])):
                expected = (
                    f"two numbers from {low:g} to {high:g}, in order" if pair else f"a number from {low:g} to {high:g}"
                )
                raise ConfigError(f"setting: {one.name}: expected {expected}, got {value!r}")


# one company, whose shares of sentiments change by a known amount, and nothing else: CUSUM is optimal here
TEXTBOOK = Setting(
    companies=1, uneven=0.0, drift=0.0, busy=0.0, crises=1.0, size=(0.6, 0.6), volume=(1.0, 1.0), spread=0.0
)


@dataclass(frozen=True, slots=True)
class Stream:
    """Messages in order of time, and what is hidden from the agent: when each company's crisis began."""

    time: NDArray[np.float64]  # (N,) hours since the start
    company: NDArray[np.int64]  # (N,)
    sentiment: NDArray[np.int64]  # (N,) of the sentence
    onset: NDArray[np.float64]  # (C,) hours; infinity: no crisis
    related: NDArray[np.bool_]  # (C, C) which companies are related


def draw_stream(rng: np.random.Generator, setting: Setting, hours: float, onset: float | None = None) -> Stream:
    """Draw a stream of so many hours.

    onset: the hour at which a crisis begins, in a company that is drawn; infinity: there is none; None: `setting.crises` says
    whether there is one, and it begins at any hour.

    Companies are related in groups of up to four. Crises last until the end.
    """
    companies, steps = setting.companies, max(1, int(np.ceil(hours)))
    group = rng.permutation(companies) // 4
    related = (group[:, None] == group) & ~np.eye(companies, dtype=np.bool_)
    if onset is None:
        onset = float(rng.uniform(0.0, hours)) if rng.random() < setting.crises else NEVER
    begins, size, volume = np.full(companies, NEVER), np.zeros(companies), np.ones(companies)
    if onset < NEVER:
        first = int(rng.integers(companies))
        begins[first], size[first], volume[first] = onset, rng.uniform(*setting.size), rng.uniform(*setting.volume)
        for other in np.flatnonzero(related[first] & (rng.random(companies) < setting.spread)):
            begins[other] = onset + rng.exponential(6.0)
            size[other] = size[first] * rng.uniform(0.5, 1.0)
            volume[other] = 1.0 + (volume[first] - 1.0) * rng.uniform(0.5, 1.0)
    hour = np.arange(steps)
    rate = setting.rate * np.exp(rng.normal(-0.5 * setting.uneven**2, setting.uneven, companies))
    rates = rate[:, None] * _drift(rng, setting, steps) * _busy(rng, setting, steps)
    within = np.clip(hour + 1.0 - begins[:, None], 0.0, 1.0)  # (C, hours) the share of the hour that is in the crisis
    rates = rates * (1.0 + (volume[:, None] - 1.0) * within)
    counts = rng.poisson(rates)
    company, start = (place.repeat(counts.ravel()) for place in map(np.ravel, np.indices(counts.shape)))
    time = start + rng.random(len(start))
    order = np.argsort(time, kind="stable")
    order = order[time[order] < hours]
    time, company = time[order], company[order]
    far = np.where(time >= begins[company], size[company], 0.0)[:, None]
    shares = (CALM + far * (BAD - CALM)).cumsum(axis=1)
    sentiment = (rng.random(len(time))[:, None] >= shares).sum(axis=1).clip(max=len(SENTIMENTS) - 1)
    return Stream(time, company, sentiment, np.where(begins < hours, begins, NEVER), related)


def part_of(stream: Stream, companies: Sequence[int]) -> tuple[NDArray[np.int64], Stream]:
    """Return the places of the messages about some companies (in increasing order), and a stream of these alone."""
    places = np.flatnonzero(np.isin(stream.company, companies))
    company = np.searchsorted(companies, stream.company[places])
    related = stream.related[np.ix_(companies, companies)]
    return places, Stream(
        stream.time[places], company, stream.sentiment[places], stream.onset[list(companies)], related
    )


def in_crisis(stream: Stream) -> NDArray[np.bool_]:
    """Return whether the company of each message is in a crisis when it comes, (N,)."""
    found: NDArray[np.bool_] = stream.time >= stream.onset[stream.company]
    return found


def _drift(rng: np.random.Generator, setting: Setting, steps: int) -> NDArray[np.float64]:
    """Return factors of the rate, (C, hours), whose logarithms return to 0 within a day."""
    noise = setting.drift * rng.normal(size=(setting.companies, steps))
    level, found = np.zeros(setting.companies), np.empty_like(noise)
    for step in range(steps):
        level = (1.0 - 1.0 / 24.0) * level + noise[:, step]
        found[:, step] = level
    factors: NDArray[np.float64] = np.exp(found)
    return factors


def _busy(rng: np.random.Generator, setting: Setting, steps: int) -> NDArray[np.float64]:
    """Return 3 in the 12 hours after a busy time began, else 1, (C, hours)."""
    begins = rng.random((setting.companies, steps)) < setting.busy
    total = np.pad(begins.cumsum(axis=1), ((0, 0), (12, 0)))
    found: NDArray[np.float64] = np.where(total[:, 12:] > total[:, :-12], 3.0, 1.0)
    return found
