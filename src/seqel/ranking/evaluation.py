"""Evaluates a ranker on questions: the whole catalogue is ranked, without the items that a user has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.agents.ranking import exclude, top_items
from seqel.evaluation.statistics import bootstrap_interval
from seqel.ranking.baselines import Ranker
from seqel.ranking.interactions import Queries
from seqel.ranking.metrics import hit_rate, hits, mean_reciprocal_rank, ndcg

__all__ = ["RankingResult", "evaluate_lists", "evaluate_ranker", "ratio_interval"]

Numbers = NDArray[np.float64]
CUTOFFS = (5, 10, 20)
BLOCK = 1 << 24  # scores at once, 64 MiB


@dataclass(frozen=True, slots=True)
class RankingResult:
    """One number per question for each metric, such as "NDCG@10", and the lists."""

    metrics: dict[str, Numbers]  # (Q,) each
    lists: NDArray[np.int64]  # (Q, 20) codes of items

    def means(self) -> dict[str, float]:
        """Return the mean of each metric."""
        return {name: float(values.mean()) for name, values in self.metrics.items()}

    def interval(self, metric: str) -> tuple[float, float]:
        """Return the bootstrap interval of a mean, over users."""
        return bootstrap_interval(self.metrics[metric])


def evaluate_ranker(ranker: Ranker, queries: Queries, *, exclude_seen: bool = True) -> RankingResult:
    """Rank all items for each question, and measure hit rate, NDCG and reciprocal rank at 5, 10 and 20.

    With `exclude_seen`, next items that are also in the history cannot be found; they still count as missed.
    """
    lists = []
    for part in queries.parts(max(1, BLOCK // len(queries.source.items))):
        scores = np.array(ranker(part), np.float32)
        if exclude_seen:
            exclude(scores, part.histories())
        lists.append(top_items(scores, max(CUTOFFS))[0])
    return evaluate_lists(np.concatenate(lists), queries.targets())


def evaluate_lists(lists: NDArray[np.int64], targets: Sequence[NDArray[np.integer]]) -> RankingResult:
    """Measure lists (Q, 20) of codes, best first, of any origin. targets: the items that came next, of each question."""
    hit = hits(lists, targets)
    metrics: dict[str, Numbers] = {}
    for k in CUTOFFS:
        metrics[f"HR@{k}"] = hit_rate(hit, k)
        metrics[f"NDCG@{k}"] = ndcg(hit, k, targets)
        metrics[f"MRR@{k}"] = mean_reciprocal_rank(hit, k)
    return RankingResult(metrics, lists)


def ratio_interval(
    ours: Numbers, theirs: Numbers, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the ratio of two means over the same users, and its paired bootstrap interval: (ratio, low, high).

    Users are drawn, and with each both numbers. Infinity where the second mean is 0.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(ours), size=(resamples, len(ours)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1)
        ratio = float(ours.mean() / theirs.mean())
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return ratio, float(low), float(high)
