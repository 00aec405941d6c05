"""Sequential detectors of sudden changes in scalar streams: Page-Hinkley tests of `river.drift`.

    q_max       the score of the chosen action
    surprise    the mean over the observed features of -ln(share of the value's bin in the reference)

Page (1954, Biometrika 41), Hinkley (1971, Biometrika 58). The test compares a stream with its own past. It notices a change
within the service a few decisions later, but not one that was there from the start. It reads means of `BLOCK` decisions in
standard deviations of calm blocks; its threshold is calibrated on calm streams. Differs: the textbook's threshold assumes
independent values.

Page-Hinkley was chosen by measurement (`benchmarks/drift_detectors.py`): at the same rate of false alarms, ADWIN is as fast
in the median but has longer worst cases, and KSWIN costs hundreds of times as much and misses changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.extras import require
from seqel.monitoring.calibration import CONCURRENCY, DECISIONS, calm_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from seqel.monitoring.reference import Reference

__all__ = [
    "BLOCK", "STREAMS", "THRESHOLDS", "Change", "StreamDetectors", "Surprise", "blocks_of", "page_hinkley",
    "standard", "strictest",
]  # fmt: skip

STREAMS = ("q_max", "surprise")
BLOCK = 16  # decisions whose mean a detector reads
WARMUP = 10  # blocks before the first alarm
TOLERATED = 0.5  # changes of the mean that do not count, in standard deviations of a block
FARTHEST = 8.0  # standard deviations that a block counts at most, so that one alarm is enough for a large change
THRESHOLDS = tuple(float(one) for one in np.geomspace(15.0, 5_000.0, 36))  # the first: more than one strange block
REPLICATES = 12  # calm streams per level of concurrency


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a stream's mean that a detector has noticed."""

    stream: str
    value: float  # mean of the newest block, in standard deviations of calm blocks, at most `FARTHEST`
    threshold: float


@dataclass(frozen=True, slots=True)
class _Scale:
    mean: float
    std: float
    threshold: float


class Surprise:
    """How improbable observations are: the mean over the observed features of -ln(share of the value's bin)."""

    def __init__(self, reference: Reference) -> None:
        bins, episodes = reference.bins, reference.effective_episodes
        number = bins.used.sum(axis=1, keepdims=True)
        total = np.maximum(reference.counts.sum(axis=1, keepdims=True), 1.0)
        share = (episodes * reference.counts / total + 0.5) / (episodes + 0.5 * number)
        watched = reference.known.copy()
        watched[reference.features.observed :] = False
        self._table = np.where(watched[:, None], -np.log(share), 0.0) / max(1, int(watched.sum()))
        self._features = np.arange(len(share))

    def of(self, index: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Bins (R, F) -> (R,)."""
        return np.asarray(self._table[self._features, index].sum(axis=1), np.float64)


@dataclass
class _Running:
    detector: Any
    level: int
    total: float = 0.0
    count: int = 0


class StreamDetectors:
    """One test per stream.

    rate: false alarms per decision, over all streams together. Raises MissingExtraError: river is not installed.
    """

    def __init__(self, reference: Reference, rate: float) -> None:
        require("river")
        self._surprise = Surprise(reference)
        self._scales: dict[tuple[int, str], _Scale] = {}
        self._running: dict[str, _Running] = {}
        names = [name for name in STREAMS if name != "q_max" or np.isfinite(reference.values).any()]
        for level, concurrency in enumerate(CONCURRENCY):
            streams: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
            for rows, _ in calm_streams(reference, concurrency, DECISIONS // 2 // REPLICATES, REPLICATES, seed=1):
                if "q_max" in streams:
                    streams["q_max"].append(blocks_of(reference.values[rows].astype(np.float64)))
                streams["surprise"].append(blocks_of(self._surprise.of(reference.sample[rows])))
            for name, series in streams.items():
                together = np.concatenate(series)
                mean, std = float(np.nanmean(together)), float(np.nanstd(together))
                if not std > 1e-9 * max(1.0, abs(mean)):  # constant: nothing to standardise by
                    continue
                scaled = [[standard(value, mean, std) for value in one[np.isfinite(one)].tolist()] for one in series]
                threshold = strictest(page_hinkley, THRESHOLDS, scaled, rate * DECISIONS / 2 / len(names))
                self._scales[level, name] = _Scale(mean, std, threshold)

    def update(self, index: NDArray[np.uint8], q_max: NDArray[np.float64], level: int) -> list[Change]:
        """Read R decisions: bins (R, F), q_max (R,). level: of `CONCURRENCY`. Another level starts the tests again."""
        found: list[Change] = []
        for name in STREAMS:
            scale = self._scales.get((level, name))
            if scale is None:
                continue
            one = self._running.get(name)
            if one is None or one.level != level:
                one = self._running[name] = _Running(page_hinkley(scale.threshold), level)
            values = q_max[np.isfinite(q_max)] if name == "q_max" else self._surprise.of(index)
            for start in range(0, len(values), BLOCK):
                part = values[start : start + BLOCK]
                one.total += float(part.sum())
                one.count += len(part)
                if one.count < BLOCK:
                    continue
                value = standard(one.total / one.count, scale.mean, scale.std)
                one.total, one.count = 0.0, 0
                one.detector.update(value)
                if one.detector.drift_detected:
                    found.append(Change(name, value, scale.threshold))
        return found


def standard(value: float, mean: float, std: float) -> float:
    """Return a value in standard deviations, at most `FARTHEST` of them."""
    return min(FARTHEST, max(-FARTHEST, (value - mean) / std))


def page_hinkley(threshold: float) -> Any:
    """Return a test with this threshold, in standard deviations of a block. Raises MissingExtraError."""
    require("river")
    from river.drift import PageHinkley

    return PageHinkley(min_instances=WARMUP, delta=TOLERATED, threshold=threshold, alpha=1.0)


def blocks_of(values: NDArray[np.float64], size: int = BLOCK) -> NDArray[np.float64]:
    """Return the means of consecutive blocks, without NaN; NaN for a block of nothing else."""
    count = len(values) // size
    blocks = values[: count * size].reshape(count, size)
    known = np.isfinite(blocks)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = np.where(known, blocks, 0.0).sum(axis=1) / known.sum(axis=1)
    return found


def strictest(
    make: Callable[[float], Any], grid: Sequence[float], streams: Sequence[Sequence[float]], allowed: float
) -> float:
    """Return the first parameter of the grid, from the most to the least sensitive, with at most `allowed` alarms.

    make(parameter): a detector of `river.drift`. Infinity if no parameter of the grid is calm enough.
    """
    for parameter in grid:
        alarms = 0
        for stream in streams:
            detector = make(parameter)
            for value in stream:
                detector.update(value)
                alarms += detector.drift_detected
            if alarms > allowed:
                break
        if alarms <= allowed:
            return parameter
    return math.inf
