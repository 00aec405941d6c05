"""Thresholds for a given rate of false alarms, from calm streams that are drawn from the reference.

Decisions of an episode are similar, so a window of 1,000 decisions contains less information than 1,000 independent ones; how
much less depends on the number of interleaved sessions. Streams are therefore simulated: C interleaved sessions play whole
episodes of the reference, which are drawn with replacement. The reference is resampled as well, because it is itself a
finite sample (a bootstrap over episodes on both sides; Efron & Tibshirani 1993, chapter 8). Sessions are assumed to begin at
different times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqel.monitoring.bins import indices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from seqel.monitoring.reference import Reference

__all__ = [
    "CHECKS",
    "CONCURRENCY",
    "DECISIONS",
    "WINDOWS",
    "calm_rows",
    "calm_streams",
    "distribution_thresholds",
    "onsets",
]

CONCURRENCY = (1, 4, 16, 64)  # sessions that take turns, for which there are thresholds
WINDOWS = (
    1_000,
    4_000,
    16_000,
)  # decisions that are compared with the reference: short ones are fast, long ones sensitive
CHECKS = 20  # comparisons per window length
REPLICATES = 24  # simulated references, each with a stream of its own
DECISIONS = 480_000  # simulated per level of concurrency, over all replicates
CELLS = 60_000_000  # the same, times features: the most
GRID = 400  # multiples that are tried
SMALLEST = 0.005  # unit of indices that are nearly always smaller


def calm_streams(
    reference: Reference, concurrency: int, length: int, replicates: int = REPLICATES, seed: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield, once per replicate, the rows of the sample in a calm stream (length,) and the counts (F, K) of a resampled
    reference."""
    lengths = reference.lengths
    episode = np.repeat(np.arange(len(lengths)), lengths)
    for number in range(replicates):
        rng = np.random.default_rng((seed, concurrency, number))
        weights = rng.multinomial(len(lengths), np.full(len(lengths), 1 / len(lengths)))
        counts = reference.bins.counts(reference.sample, weights[episode].astype(np.float64))
        yield calm_rows(lengths, concurrency, length, rng), counts


def calm_rows(
    lengths: NDArray[np.int64], concurrency: int, decisions: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows (decisions,) of episodes that `concurrency` sessions play in turns, in the middle of which we begin."""
    begin = np.cumsum(lengths) - lengths
    steps = -(-decisions // concurrency)
    mean = float(lengths.mean())
    out = np.empty((steps, concurrency), np.int64)
    for session in range(concurrency):
        chosen = rng.integers(len(lengths), size=int(steps / mean) + 16)
        total = int(lengths[chosen].sum())
        while total < steps + 8 * mean:
            chosen = np.concatenate([chosen, rng.integers(len(lengths), size=len(chosen))])
            total = int(lengths[chosen].sum())
        size = lengths[chosen]
        first = int(rng.integers(total - steps))
        stop = np.cumsum(size)
        rows = np.repeat(begin[chosen] - (stop - size), size)[first : first + steps] + np.arange(first, first + steps)
        out[:, session] = rows
    return out.reshape(-1)[:decisions]


def distribution_thresholds(
    reference: Reference,
    rate: float,
    windows: Sequence[int] = WINDOWS,
    concurrency: Sequence[int] = CONCURRENCY,
    decisions: int = DECISIONS,
) -> NDArray[np.float64]:
    """Return the thresholds of the population stability index, (levels of concurrency, windows, 2 F), of what
    `indices` returns.

    Each feature has the same multiple of a high quantile of its own calm values; the multiple is the smallest with at most
    `rate` alarms per decision over all features and windows together. Fewer concurrent sessions never have a lower threshold.
    """
    decisions = min(decisions, CELLS // len(reference.names))
    found = []
    for level in concurrency:
        length = decisions // REPLICATES + max(windows)
        series: list[list[NDArray[np.float64]]] = [[] for _ in windows]
        for rows, counts in calm_streams(reference, level, length):
            for one, values in zip(series, _indices(reference, rows, counts, windows), strict=True):
                one.append(values)
        found.append(np.stack([_threshold(one, rate * decisions / len(windows)) for one in series]))
    return np.maximum.accumulate(np.stack(found)[::-1], axis=0)[::-1]


def _threshold(series: list[NDArray[np.float64]], allowed: float) -> NDArray[np.float64]:
    """Return thresholds, (2 F,), that all of the series (checks, 2 F) together rise above `allowed` times at most."""
    scale = np.maximum(np.quantile(np.concatenate(series), 0.95, axis=0), SMALLEST)
    most = max(float((one / scale).max()) for one in series)
    grid = np.linspace(1.0, most * 1.02, GRID)
    alarms = sum(onsets(one / scale, grid) for one in series)
    found: NDArray[np.float64] = scale * grid[smallest(np.asarray(alarms) <= allowed)]
    return found


def smallest(good: NDArray[np.bool_]) -> int:
    """Return the first index from which on all are good; the last one if none is."""
    bad = np.flatnonzero(~good)
    return min(int(bad[-1]) + 1 if bad.size else 0, len(good) - 1)


def onsets(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count how often any of the series (checks, F) rises above each threshold. -> (thresholds,)

    A series rises again once it has fallen below the threshold, so this is at least the number of alarms of a monitor that
    waits until it has fallen further.
    """
    before = np.concatenate([np.zeros((1, values.shape[1])), values[:-1]])
    rises = values > before
    low, high = np.sort(before[rises]), np.sort(values[rises])
    # a rise from a to b is an onset at the thresholds a <= h < b
    return np.searchsorted(low, thresholds, side="right") - np.searchsorted(high, thresholds, side="right")


def _indices(
    reference: Reference, rows: NDArray[np.int64], counts: NDArray[np.float64], windows: Sequence[int]
) -> Iterator[NDArray[np.float64]]:
    """Yield, for each window, the population stability indices at the checks of a stream, (checks, 2 F).

    The first check of all windows is where the longest one is full.
    """
    bins, block, longest = reference.bins, min(windows) // CHECKS, max(windows)
    blocks = len(rows) // block
    index = reference.sample[rows[: blocks * block]].reshape(blocks, block, -1)
    total = np.zeros((blocks + 1, *counts.shape), np.float32)  # exact, as integers below 2^24
    for place, part in enumerate(index):
        total[place + 1] = total[place] + bins.counts(part)
    for window in windows:
        ends = np.arange(longest // block, blocks + 1, window // CHECKS // block)
        live = (total[ends] - total[ends - window // block]).astype(np.float64)
        yield indices(live, counts, bins.used, reference.effective_episodes)
