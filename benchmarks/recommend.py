"""The next item for each user of MovieLens-100k and Amazon Video Games, beside baselines and the best sequential models.

    SEQEL_DATA=/folder/of/data python benchmarks/recommend.py [--data movielens games] [--method seqel ease ...] [--table]

Leave-one-out: the last item of each user with at least three is the test, the one before is for validation.
`timed-movielens` is split by time for all users: 80 % of the ratings to train on, 10 % for validation, and 10 % for the test,
in which each user with a history is asked about once. The whole catalogue is ranked, without the items that a user has seen.
Baselines are made from training and validation items together; Seqel is trained on the training items alone, and reads the
validation items as part of the history when it is tested. `seqel-rated` learns values of the ratings as well; how much they
count beside the probability of an item is chosen by rating-weighted NDCG@10 of the validation items, and the result is
compared with the policy alone, in which values do not count. `seqel-recent` adds to
the scores of `seqel` how often an item was chosen in the last week, with a weight learned from the validation items.

Peers run in their own environment: `--export FOLDER` writes the tables for `benchmarks/peers/rectools/sequential.py`, and
`--peer NAME=LISTS.npz` measures the lists that it wrote. One JSON file per method and seed in benchmarks/results/recommend/,
with NDCG@10 of each user, so that methods are compared user by user. Seconds are
those of the processor, because a core may be shared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measured import commit, measured, train_or_resume
from seqel.agents.ranking import NO_ITEM
from seqel.ranking import (
    Interactions,
    Queries,
    RankingResult,
    Split,
    agent_ranker,
    ease,
    evaluate_ranker,
    fit_combination,
    item_neighbours,
    metrics,
    popular,
    ranking_data,
    ratio_interval,
    recently_popular,
)
from seqel.ranking.baselines import Ranker
from seqel.ranking.evaluation import evaluate_lists

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "recommend"
BASELINES: dict[str, Callable[[Interactions], Ranker]] = {
    "popularity": popular,
    "recent popularity": lambda train: recently_popular(train, WEEK),
    "neighbours": item_neighbours,
    "neighbours, cosine": partial(item_neighbours, weighting="none"),
    "ease": ease,
}
WEEK = 7 * 24 * 3_600.0
ASKED = 2_000  # users whose validation items choose the weights
OWN: dict[str, dict[str, Any]] = {
    "movielens": {
        "network.context": 100,
        "replay.window": 200,
        "offline.every": 100,
        "offline.patience": 6,
        "threads": 1,
        "device": "cpu",
    },
    "games": {
        "network.context": 50, "replay.window": 100, "offline.every": 500, "offline.patience": 4,
        "replay.batch_tokens": 2_048, "network.dropout": 0.4, "learner.sampled_negatives": 2_048, "threads": 1,
        "device": "cpu",
    },
}  # fmt: skip
OWN["timed-movielens"] = OWN["movielens"]
SEQEL = ("seqel", "seqel-rated", "seqel-recent")
RATED: dict[str, Any] = {"objective.td_weight": 1.0, "network.value_gradient": False}
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)  # of the values, per return scale
# what a rating r of an item adds to NDCG: linear (Jarvelin and Kekalainen 2002), exponential (Burges et al. 2005)
WORTHS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "r": lambda r: r,
    "2^r - 1": lambda r: 2**r - 1,
}
ACCURATE = 0.98  # of the policy's NDCG@10 of validation items, at least, if values count
UPDATES = {"movielens": 1_500, "timed-movielens": 1_500, "games": 4_000}


def interactions(data: str) -> Interactions:
    """Read a data set."""
    folder = Path(os.environ["SEQEL_DATA"])
    if data.endswith("movielens"):
        table = np.loadtxt(folder / "ml-100k" / "ml-100k.inter", skiprows=1)
        user, item, rating, when = table.T
        return Interactions.of(user.astype(np.int64), item.astype(np.int64), when, rating)
    user, item = np.loadtxt(folder / "amazon-video-games" / "Video.txt", dtype=np.int64).T
    return Interactions.of(user, item)


def split_of(data: str) -> Split:
    """Return what is trained on, validated with and tested."""
    everything = interactions(data)
    if data.startswith("timed"):
        return everything.split_at(*np.quantile(everything.time, (0.8, 0.9)))
    return everything.leave_one_out()


def asked_of(split: Split) -> Queries:
    """Return the questions that training is validated with."""
    asked = split.validation
    if len(asked) > ASKED:
        asked = asked.subset(np.sort(np.random.default_rng(0).permutation(len(asked))[:ASKED]))
    return asked


def known_before(data: str, split: Split) -> Interactions:
    """Return everything before the test."""
    everything = split.test.source
    if data.startswith("timed"):
        return everything.subset(everything.time < everything.time[split.test.stop].min())
    keep = np.ones(len(everything), np.bool_)
    keep[split.test.stop] = False
    return everything.subset(keep)


def baseline(data: str, method: str) -> dict[str, Any]:
    split = split_of(data)
    test = split.test
    began = time.process_time()
    ranker = BASELINES[method](known_before(data, split))
    return result(evaluate_ranker(ranker, test), test, time.process_time() - began)


def own(data: str, method: str, seed: int, updates: int, changes: dict[str, Any], label: str) -> dict[str, Any]:
    split = split_of(data)
    folder = HERE.parent / "runs" / f"recommend-{data}-{method.removesuffix('-recent')}-{label}{seed}"
    rated = RATED if method == "seqel-rated" else {}
    source = ranking_data(split.train, asked_of(split))
    began = time.process_time()
    agent = train_or_resume(
        folder, data=source, steps=updates, seed=seed, preset="next-item", settings=OWN[data] | rated | changes
    )
    seconds = time.process_time() - began
    ranker = agent_ranker(agent)
    tried: dict[float, dict[str, float]] = {}
    policy: dict[str, Any] = {}
    for weight in WEIGHTS if rated else ():
        agent.set_value_weight(weight)
        if not tried:
            policy = result(evaluate_ranker(ranker, split.test), split.test, seconds)
        gain = evaluate_ranker(ranker, split.validation).metrics["NDCG@10"]
        tried[weight] = {"NDCG@10": float(gain.mean())} | {
            name: float((gain * worth(split.validation.ratings())).mean()) for name, worth in WORTHS.items()
        }
        print(f"value weight {weight}: {tried[weight]}", file=sys.stderr, flush=True)
    if tried:
        accurate = [one for one in tried if tried[one]["NDCG@10"] >= ACCURATE * tried[0.0]["NDCG@10"]]
        agent.set_value_weight(max(accurate, key=lambda one: tried[one]["2^r - 1"]))
    on_validation, found = evaluate_ranker(ranker, split.validation), evaluate_ranker(ranker, split.test)
    if method == "seqel-recent":
        before = [recent(split.test.source, queries) for queries in (split.validation, split.test)]
        weights = fit_combination(ranker, before[0], split.validation).weights
        rankers = [plus(ranker, one @ weights) for one in before]
        on_validation = evaluate_ranker(rankers[0], split.validation)
        found = evaluate_ranker(rankers[1], split.test)
    figures = result(found, split.test, seconds)
    figures |= {"settings": changes, "updates": updates, "validation": on_validation.means()}
    if tried:
        figures |= {"value_weight": agent.network.config.value_weight, "value_weights": tried, "policy": policy}
    return figures


def recent(everything: Interactions, queries: Queries) -> NDArray[np.float64]:
    """Return log(1 + how often each item was chosen in the week before the questions), (items, 1)."""
    now = everything.time[queries.stop].min()
    week = (everything.time < now) & (everything.time >= now - WEEK)
    return np.log1p(np.bincount(everything.item[week], minlength=len(everything.items)))[:, None]


def plus(ranker: Ranker, bonus: NDArray[np.float64]) -> Ranker:
    """Return a ranker that adds a number to the score of each item."""
    return lambda queries: ranker(queries) + bonus.astype(np.float32)


def peer(data: str, lists: Path) -> dict[str, Any]:
    """Measure the lists that a peer has written."""
    split = split_of(data)
    found = np.load(lists)
    facts = json.loads(str(found["facts"]))
    parts = {}
    for name, queries in (("validation", split.validation), ("test", split.test)):
        users, items = found[f"{name}_user"], found[f"{name}_item"]
        place = np.searchsorted(queries.user, users)
        rank = np.arange(len(users)) - np.searchsorted(users, users)  # lists stand one after another
        table = np.full((len(queries), 20), NO_ITEM)
        table[place, rank] = items
        parts[name] = evaluate_lists(table, queries.targets())
    return result(parts["test"], split.test, facts["seconds"]) | {
        "settings": facts["settings"], "log": facts["log"], "validation": parts["validation"].means(),
    }  # fmt: skip


def result(found: RankingResult, test: Queries, seconds: float) -> dict[str, Any]:
    """Return the figures, and NDCG@10 of each user."""
    beyond = {
        "coverage": metrics.coverage(found.lists[:, :10], len(test.source.items)),
        "novelty": float(metrics.novelty(found.lists[:, :10], test.source.counts).mean()),
        "popularity": float(metrics.popularity(found.lists[:, :10], test.source.counts).mean()),
    }
    intervals = {name: found.interval(name) for name in ("HR@10", "NDCG@10")}
    return {
        "means": found.means(), "intervals": intervals, **beyond, "seconds": seconds, "commit": commit(),
        "gains": " ".join(f"{one:.4g}" for one in found.metrics["NDCG@10"].tolist()),
    }  # fmt: skip


def gains(one: dict[str, Any]) -> NDArray[np.float64]:
    """Return NDCG@10 of each user."""
    return np.array(one["gains"].split(), np.float64)


def export(folder: Path) -> None:
    """Write the tables for peers."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in OWN:
        split = split_of(data)
        everything = split.test.source
        part = np.zeros(len(everything), np.int64)
        if data.startswith("timed"):
            part = np.searchsorted(np.quantile(everything.time, (0.8, 0.9)), everything.time, side="right")
        else:
            part[split.validation.stop], part[split.test.stop] = 1, 2
        order = np.arange(len(everything)) - everything.starts[everything.user]
        columns = np.column_stack([everything.user, everything.item, order, part])
        np.savetxt(folder / f"{data}.csv", columns, fmt="%d", delimiter=",", header="user,item,order,part", comments="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=OWN, default=list(OWN))
    parser.add_argument("--method", nargs="+", choices=(*SEQEL, *BASELINES), default=["seqel", *BASELINES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", type=int)
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING=VALUE", help="changes to the settings")
    parser.add_argument("--label", default="", help="of a run with changes, for the names of its files")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the tables for peers")
    parser.add_argument(
        "--peer", nargs="+", default=[], metavar="NAME=FILE", help="measure lists of a peer, for one --data"
    )
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    if given.export:
        export(given.export)
        return
    changes = {key: json.loads(value) for key, _, value in (one.partition("=") for one in given.set)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    peers = dict(one.split("=", 1) for one in given.peer)
    for data in given.data:
        for name, file in peers.items():
            measured(RESULTS / f"{data}-{name}.json", False, partial(peer, data, Path(file)))
        for method in [] if peers else given.method:
            if "recent" in method and data == "games":  # a table without times
                continue
            for seed in given.seeds if method in SEQEL else [0]:
                run = partial(baseline, data, method)
                if method in SEQEL:
                    run = partial(own, data, method, seed, given.updates or UPDATES[data], changes, given.label)
                name = method.replace(", ", "-").replace(" ", "-") + (f"-{given.label}" if given.label else "")
                measured(RESULTS / f"{data}-{name}-seed{seed}.json", given.table, run)
        print_table(data)
        print_rated(data)


def print_table(data: str) -> None:
    """Print every result, with the ratio of NDCG@10, plain and weighted by ratings, to each of the runs of Seqel."""
    files = sorted(RESULTS.glob(f"{data}-*.json"))
    found = {path.stem.removeprefix(f"{data}-"): json.loads(path.read_text()) for path in files}
    weight = split_of(data).test.ratings()
    first = {name: gains(one) for name, one in found.items() if name in ("seqel-seed0", "seqel-rated-seed0")}
    columns = ["HR@10 (95 %)", "NDCG@10 (95 %)", "weighted by rating", *(f"{name} over it" for name in first)]
    columns += ["coverage", "seconds"]
    print(f"\n| {data} | {' | '.join(columns)} |\n" + "|---" * (1 + len(columns)) + "|")
    for name, one in found.items():
        gain = gains(one)
        cells = [
            f"{one['means'][key]:.4f} ({one['intervals'][key][0]:.4f} to {one['intervals'][key][1]:.4f})"
            for key in ("HR@10", "NDCG@10")
        ]
        cells.append(f"{(gain * weight).mean() / weight.mean():.4f}")
        for who, other in first.items():
            plain, weighted = ratio_interval(other, gain), ratio_interval(other * weight, gain * weight)
            cells.append(
                ""
                if who == name
                else "{:.2f} ({:.2f} to {:.2f}); weighted {:.2f} ({:.2f} to {:.2f})".format(*plain, *weighted)
            )
        print(f"| {name} | {' | '.join(cells)} | {one['coverage']:.2f} | {one['seconds']:.0f} |", flush=True)


def print_rated(data: str) -> None:
    """Print what values of ratings change: NDCG@10 over that of the policy alone, plain and weighted, paired by users."""
    files = sorted(RESULTS.glob(f"{data}-seqel-rated-seed*.json"))
    runs = [one for one in (json.loads(path.read_text()) for path in files) if "policy" in one]
    if not runs:
        return
    rating = split_of(data).test.ratings()
    worths = {"plain": np.ones_like(rating)} | {name: worth(rating) for name, worth in WORTHS.items()}
    print(
        f"\n| with values, over the policy alone | value weight | {' | '.join(worths)} |\n"
        + "|---" * (2 + len(worths))
        + "|"
    )
    pairs = [(gains(one), gains(one["policy"])) for one in runs]
    rows = [(path.stem.rpartition("-")[2], [one], [pair]) for path, one, pair in zip(files, runs, pairs, strict=True)]
    for name, some, these in [*rows, ("mean of the seeds", runs, pairs)]:
        ours, alone = (np.mean(one, axis=0) for one in zip(*these, strict=True))
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(*ratio_interval(ours * w, alone * w)) for w in worths.values()]
        print(f"| {name} | {', '.join(str(one['value_weight']) for one in some)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
