"""Hit rate, NDCG and reciprocal rank of written lists by RecTools, to compare with `seqel.ranking.metrics`.

    python metrics.py interactions.csv lists.npz

The table and the lists are those of `sequential.py`. Prints the means over users at 5, 10 and 20 for the test items.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import MRR, NDCG, HitRate, calc_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("lists", type=Path)
    given = parser.parse_args()
    table, found = pd.read_csv(given.table), np.load(given.lists)
    lists = pd.DataFrame({Columns.User: found["test_user"], Columns.Item: found["test_item"]})
    lists[Columns.Rank] = lists.groupby(Columns.User).cumcount() + 1
    test = table[table["part"] == 2].rename(columns={"user": Columns.User, "item": Columns.Item})
    test = test[test[Columns.User].isin(lists[Columns.User])]
    metrics = {}
    for cut in (5, 10, 20):
        metrics |= {f"HR@{cut}": HitRate(k=cut), f"MRR@{cut}": MRR(k=cut)}
        metrics[f"NDCG@{cut}"] = NDCG(k=cut, divide_by_achievable=True)
    for name, value in calc_metrics(metrics, lists, test[[Columns.User, Columns.Item]]).items():
        print(f"{name} {value:.6f}")


if __name__ == "__main__":
    main()
