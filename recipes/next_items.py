"""From a table of what users chose to ranked lists: train, compare with what is hard to beat, and look at lists with reasons.

    python recipes/next_items.py CHOICES.csv [--rating rating] [--test-share 0.1] [--out runs/items] [--updates 1500]

The table has one row per choice, with the columns user, item and time, and a rating if there is one. The last item of each
user is the test and the one before is for validation; with --test-share, the latest share of all choices is the test, for all
users at once, and the same share before it is for validation. Values of ratings are learned as well if there are any, and how
much they count is chosen by rating-weighted NDCG@10 of the validation items.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from seqel.errors import SeqelError
from seqel.evaluation.statistics import bootstrap_interval
from seqel.ranking import (
    Queries,
    agent_ranker,
    ease,
    evaluate_ranker,
    item_neighbours,
    popular,
    ranking_data,
    ratio_interval,
    read_interactions,
    recently_popular,
)

SETTINGS: dict[str, Any] = {"replay.window": 200, "network.context": 100, "offline.patience": 6}
RATED: dict[str, Any] = {"objective.td_weight": 1.0, "network.value_gradient": False}
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
RECENT = 0.1  # share of the time for which recent popularity counts
ASKED = 2_000  # users whose validation items choose the weights of the network


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("table", help="a CSV or Parquet file with one row per choice")
    parser.add_argument("--user", default="user", metavar="COLUMN")
    parser.add_argument("--item", default="item", metavar="COLUMN")
    parser.add_argument("--time", default="time", metavar="COLUMN", help="numbers or dates; '': rows are in order")
    parser.add_argument("--rating", metavar="COLUMN", help="numbers; without: every choice counts alike")
    parser.add_argument("--test-share", type=float, metavar="SHARE", help="split by time, for all users at once")
    parser.add_argument("--out", type=Path, default=Path("runs/items"))
    parser.add_argument("--updates", type=int, default=1_500)
    given = parser.parse_args()
    if given.out.exists() and any(given.out.iterdir()):
        parser.error(f"--out: expected a new folder, got {given.out}, which is not empty")
    if given.test_share is not None and not 0.0 < given.test_share < 0.5:
        parser.error(f"--test-share: expected a share above 0 and below 0.5, got {given.test_share}")
    table = read_interactions(given.table, given.user, given.item, given.time or None, given.rating)
    print(table)
    if given.test_share:
        split = table.split_at(*np.quantile(table.time, (1.0 - 2.0 * given.test_share, 1.0 - given.test_share)))
    else:
        split = table.leave_one_out()
    asked = split.validation
    if len(asked) > ASKED:
        asked = asked.subset(np.sort(np.random.default_rng(0).permutation(len(asked))[:ASKED]))
    agent = seqel.train(
        data=ranking_data(split.train, asked), steps=given.updates, preset="next-item", out=given.out,
        settings=SETTINGS | (RATED if given.rating else {}),
    )  # fmt: skip
    ranker = agent_ranker(agent)
    if given.rating:
        agent.set_value_weight(max(WEIGHTS, key=lambda weight: weighted(agent, weight, split.validation)))
        print(f"value weight chosen on validation items: {agent.network.config.value_weight:g}")
        agent.save(given.out / "agent")

    span = RECENT * float(np.ptp(split.train.time))
    rankers = {
        "popularity": popular(split.train),
        "recent popularity": recently_popular(split.train, span) if given.time else None,
        "neighbours": item_neighbours(split.train),
        "EASE": ease(split.train),
        "Seqel": ranker,
    }
    found = {name: evaluate_ranker(one, split.test) for name, one in rankers.items() if one is not None}
    print(
        f"\n{len(split.test):,} users asked; 95 % intervals\n"
        f"{'':<18} {'HR@10':<21}  {'NDCG@10':<21}  ratio of Seqel's NDCG@10 to it"
    )
    own = found["Seqel"].metrics["NDCG@10"]
    for name, result in found.items():
        cells = []
        for metric in ("HR@10", "NDCG@10"):
            low, high = bootstrap_interval(result.metrics[metric])
            cells.append(f"{result.means()[metric]:.3f} ({low:.3f} to {high:.3f})")
        if name != "Seqel":
            cells.append("{:.2f} ({:.2f} to {:.2f})".format(*ratio_interval(own, result.metrics["NDCG@10"])))
        print(f"{name:<18} " + "  ".join(f"{cell:<21}" for cell in cells))

    names = split.test.source.items
    for history in split.test.histories()[:3]:
        chosen = [names[code] for code in history]
        items, _ = agent.rank(chosen, k=5)
        raised = agent.rank_influence(chosen, items)
        print(f"\nafter {' | '.join(map(str, chosen[-3:]))}:")
        width = max(map(len, map(str, items)))
        for item, by in zip(items, raised, strict=True):
            print(f"  {item!s:<{width}}  because of {' | '.join(str(chosen[place]) for place in np.argsort(-by)[:2])}")
    print(f"\nlists for any history: seqel rank {given.out} --item ITEM --why")


def weighted(agent: seqel.Agent, weight: float, queries: Queries) -> float:
    """Return NDCG@10 of an agent with this weight of its values, each user weighted by the rating of what was chosen next."""
    agent.set_value_weight(weight)
    return float((evaluate_ranker(agent_ranker(agent), queries).metrics["NDCG@10"] * queries.ratings()).mean())


if __name__ == "__main__":
    try:
        main()
    except SeqelError as error:
        sys.exit(f"{error}")
