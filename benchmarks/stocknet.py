"""Surges of negative tweets about a stock beside the size of its move on the same day: a now-cast, and no prediction.

    SEQEL_DATA=/folder/of/data python benchmarks/stocknet.py [--tweets 106338] [--table]

The tweets and prices of StockNet (Xu and Cohen 2018, ACL P18-1183), 2014 and 2015. The sentiment of a tweet is read as in
`seqel watch`: a logistic regression on the vectors of all-MiniLM-L6-v2, fitted on the Financial PhraseBank. A tweet
after the close (21:00 UTC) counts for the next trading day. Of each stock and day: the negative tweets and all tweets,
each over their mean in the five trading days before (`log(1 + n) - log(1 + mean)`), and the mean chance of a negative tweet.

Measured is the area under the ROC curve for "the close moved by 2 % or more", of the same day and of the next one, with an
interval from 1,000 bootstrap draws of days. Beside it: the standard deviation of the 20 returns before (prices alone), and as
a placebo the negative tweets of another day of the same stock. Results: benchmarks/results/stocknet/.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from measured import commit, measured
from seqel.tasks.opinion.sentences import NEGATIVE, SENTIMENTS, Split, read_opinions
from seqel.texts.config import TextConfig
from seqel.texts.logistic_regression import fit_logistic_regression
from seqel.texts.make import make_reader
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "stocknet"
MOVE, CLOSE = 0.02, 21  # of the close; hour of the close in UTC
Numbers = NDArray[np.float64]


def data(name: str) -> Path:
    return Path(os.environ["SEQEL_DATA"]) / name


def negative_probability(texts: list[str]) -> Numbers:
    """Return the chance that each text is negative."""
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=64))
    assert reader is not None
    (path,) = data("financial-phrasebank").glob("*.csv")
    opinions = read_opinions(path, encoding="latin-1")

    def pairs(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        known, labels = opinions.labelled(split)
        return np.asarray(reader.read(known)), labels

    classifier = fit_logistic_regression(SENTIMENTS, pairs("train"), pairs("validation"))
    found = np.empty(len(texts))
    for start in range(0, len(texts), 4_096):
        found[start : start + 4_096] = classifier.probabilities(reader.read(texts[start : start + 4_096]))[:, NEGATIVE]
        print(f"{start + 4_096:,} tweets", flush=True)
    return found


def tweets_by_day(most: int) -> dict[str, dict[date, list[float]]]:
    """Return the probabilities that tweets are negative, by stock and by the date of the session that they come before."""
    with (data("stocknet") / "tweets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = rows[:: max(1, len(rows) // most)]
    distinct = list(dict.fromkeys(row["text"] for row in rows))
    chance = dict(zip(distinct, negative_probability(distinct).tolist(), strict=True))
    found: dict[str, dict[date, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        moment = datetime.fromisoformat(row["time"])
        day = moment.date() + timedelta(days=int(moment.hour >= CLOSE))
        found[row["stock"]][day].append(chance[row["text"]])
    return found


def table(most: int) -> dict[str, NDArray[Any]]:
    """Return one row per stock and trading day with tweets in the days before: features, moves, and the day."""
    prices: dict[str, list[tuple[date, float]]] = defaultdict(list)
    with (data("stocknet") / "prices.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            prices[row["stock"]].append((date.fromisoformat(row["date"]), float(row["adjusted_close"])))
    columns: dict[str, list[Any]] = defaultdict(list)
    for stock, tweets in tweets_by_day(most).items():
        days = sorted(prices[stock])
        closes = np.array([close for _, close in days])
        moves = np.concatenate([[0.0], closes[1:] / closes[:-1] - 1.0])
        said: list[list[float]] = [[] for _ in days]
        place = {day: number for number, (day, _) in enumerate(days)}
        for day, some in tweets.items():
            for later in range(5):  # a weekend's tweets come before Monday's session
                at = place.get(day + timedelta(days=later))
                if at is not None:
                    said[at] += some
                    break
        negative, count = np.array([sum(one) for one in said]), np.array([float(len(one)) for one in said])
        for at in range(25, len(days) - 1):
            if count[at - 5 : at + 1].sum() < 5:
                continue
            columns["stock"].append(stock)
            columns["day"].append(days[at][0].toordinal())
            columns["negative tweets"].append(np.log1p(negative[at]) - np.log1p(negative[at - 5 : at].mean()))
            columns["all tweets"].append(np.log1p(count[at]) - np.log1p(count[at - 5 : at].mean()))
            columns["share of negative tweets"].append(negative[at] / count[at] if count[at] else 0.0)
            columns["volatility of 20 days (prices alone)"].append(moves[at - 20 : at].std())
            columns["same"].append(abs(moves[at]) >= MOVE)
            columns["next"].append(abs(moves[at + 1]) >= MOVE)
    return {name: np.array(some) for name, some in columns.items()}


def area(score: Numbers, label: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve."""
    positive = int(label.sum())
    rank = float(rankdata(score)[label].sum())
    return (rank - positive * (positive + 1) / 2) / (positive * (len(label) - positive))


def with_interval(score: Numbers, label: NDArray[np.bool_], day: NDArray[np.int64]) -> list[float]:
    """Return the area and its 95 % interval: days are drawn, because the stocks of a day move together."""
    rng, (_, of_day) = np.random.default_rng(0), np.unique(day, return_inverse=True)
    rows = np.split(np.argsort(of_day, kind="stable"), np.cumsum(np.bincount(of_day))[:-1])
    draws = []
    for _ in range(1_000):
        some = np.concatenate([rows[one] for one in rng.integers(len(rows), size=len(rows))])
        draws.append(area(score[some], label[some]))
    low, high = np.quantile(draws, (0.025, 0.975))
    return [area(score, label), float(low), float(high)]


def run(most: int) -> dict[str, Any]:
    rows, rng = table(most), np.random.default_rng(0)
    scores = {
        name: rows[name]
        for name in (
            "negative tweets",
            "all tweets",
            "share of negative tweets",
            "volatility of 20 days (prices alone)",
        )
    }
    shuffled = rows["negative tweets"].copy()
    for stock in np.unique(rows["stock"]):
        places = np.flatnonzero(rows["stock"] == stock)
        shuffled[places] = shuffled[rng.permutation(places)]
    scores["placebo: negative tweets of another day"] = shuffled
    found = {
        name: {day: with_interval(score, rows[day], rows["day"]) for day in ("same", "next")}
        for name, score in scores.items()
    }
    return {
        "rows": len(rows["day"]), "moves": float(rows["same"].mean()), "tweets": most, "commit": commit(), "found": found,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tweets", type=int, default=106_338, help="a sample of so many, evenly over time")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "stocknet.json"
    found = measured(path, given.table, partial(run, given.tweets))
    if found is None:
        return
    print(f"{found['rows']:,} stock-days, {found['moves']:.1%} with a move of 2 % or more")
    print("| score | same day: AUROC (95 %) | next day |\n|---|---|---|")
    for name, one in found["found"].items():
        print(f"| {name} | {' | '.join('{:.3f} ({:.3f} to {:.3f})'.format(*one[day]) for day in ('same', 'next'))} |")


if __name__ == "__main__":
    main()
