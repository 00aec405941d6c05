"""Catalogues of items and ranked lists: interactions and their splits, baselines, metrics, and data to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.ranking.baselines import ease, item_neighbours, popular, recently_popular
    from seqel.ranking.combine import Combination, fit_combination
    from seqel.ranking.data import RankingData, ranking_data
    from seqel.ranking.diversity import diversify
    from seqel.ranking.evaluation import RankingResult, evaluate_ranker, ratio_interval
    from seqel.ranking.interactions import Interactions, Queries, Split
    from seqel.ranking.rank import agent_ranker
    from seqel.ranking.tables import read_interactions

__all__ = [
    "Combination",
    "Interactions",
    "Queries",
    "RankingData",
    "RankingResult",
    "Split",
    "agent_ranker",
    "diversify",
    "ease",
    "evaluate_ranker",
    "fit_combination",
    "item_neighbours",
    "popular",
    "ranking_data",
    "ratio_interval",
    "read_interactions",
    "recently_popular",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Combination": "seqel.ranking.combine",
        "Interactions": "seqel.ranking.interactions",
        "Queries": "seqel.ranking.interactions",
        "RankingData": "seqel.ranking.data",
        "RankingResult": "seqel.ranking.evaluation",
        "Split": "seqel.ranking.interactions",
        "agent_ranker": "seqel.ranking.rank",
        "diversify": "seqel.ranking.diversity",
        "ease": "seqel.ranking.baselines",
        "evaluate_ranker": "seqel.ranking.evaluation",
        "fit_combination": "seqel.ranking.combine",
        "item_neighbours": "seqel.ranking.baselines",
        "popular": "seqel.ranking.baselines",
        "ranking_data": "seqel.ranking.data",
        "ratio_interval": "seqel.ranking.evaluation",
        "read_interactions": "seqel.ranking.tables",
        "recently_popular": "seqel.ranking.baselines",
    },
)
