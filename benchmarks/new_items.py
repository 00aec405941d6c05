"""Items that were never in the training data, ranked by what their titles and genres say: MovieLens-100k.

    SEQEL_DATA=/folder/of/data python benchmarks/new_items.py [--seeds 0 1 2] [--table]

A fifth of the films is hidden: no interaction with them is trained on. Then, for each user, the last hidden film that was
rated is to be found among all hidden films, from the known films that were rated before it. Features of a film: its genres,
its year, and the vector of its title by all-MiniLM-L6-v2. Beside Seqel: random order; how often a film's genres occur in the
training data; and how often they occur in the user's own history.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measured import commit, measured, train_or_resume
from recommend import OWN, interactions
from seqel.agents.ranking import history_scores, top_items
from seqel.evaluation.statistics import bootstrap_interval
from seqel.ranking import Interactions, Queries, ranking_data
from seqel.ranking import metrics as measures
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from text_choice import MODEL

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "new-items"
HIDDEN = 0.2  # of the films


def films(items: tuple[Any, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the genres of the films (A, G), and all features (A, F)."""
    path = Path(os.environ["SEQEL_DATA"]) / "ml-100k" / "ml-100k.item"
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        code, title, year, genres = line.split("\t")
        rows[int(code)] = (title, float(year) if year.isdigit() else 1990.0, genres.split(" "))
    known = [rows[code] for code in items]
    names = sorted({genre for _, _, genres in known for genre in genres})
    table = np.array([[name in genres for name in names] for _, _, genres in known], np.float32)
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=32))
    assert reader is not None
    titles = reader.read([title for title, _, _ in known])
    years = np.array([[year] for _, year, _ in known], np.float32)
    return table, np.concatenate([table, years, titles], axis=1).astype(np.float32)


def hide(data: Interactions, seed: int) -> tuple[Interactions, NDArray[np.bool_], Queries]:
    """Return the interactions with known films, which films are hidden, and the questions about hidden ones."""
    hidden = np.random.default_rng((seed, 71)).random(len(data.items)) < HIDDEN
    place = np.flatnonzero(hidden[data.item])
    last = place[np.append(data.user[place][1:] != data.user[place][:-1], True)]  # of each user
    start = data.starts[data.user[last]]
    before = np.array([int((~hidden[data.item[a:b]]).sum()) for a, b in zip(start, last, strict=True)])
    last = last[before >= 3]
    return data.subset(~hidden[data.item]), hidden, Queries(data, data.user[last], last, last + 1)


def run(seed: int, updates: int, changes: dict[str, Any]) -> dict[str, Any]:
    data = interactions("movielens")
    known, hidden, asked = hide(data, seed)
    split = known.leave_one_out()
    genre, features = films(data.items)
    folder, began = HERE.parent / "runs" / f"new-items-{seed}", time.process_time()
    source = ranking_data(split.train, split.validation)
    settings = OWN["movielens"] | {"network.item_dropout": 0.5} | changes
    agent = train_or_resume(
        folder, data=source, steps=updates, seed=seed, preset="next-item", settings=settings, action_features=features
    )
    seconds = time.process_time() - began
    histories = [one[~hidden[one]] for one in asked.histories()]
    ratings = [data.rating[a:b][~hidden[data.item[a:b]]] for a, b in zip(asked.start, asked.stop, strict=True)]
    profile, of_film = np.stack([genre[one].sum(axis=0) for one in histories]), genre / genre.sum(axis=1, keepdims=True)
    scores = {
        "Seqel": history_scores(agent.network, histories, ratings),
        "genres of the user": profile @ of_film.T,
        "genres in the data": np.tile(known.counts @ genre @ of_film.T, (len(asked), 1)),
        "random": np.random.default_rng(seed).random((len(asked), len(data.items))),
    }
    found = {}
    for name, score in scores.items():
        among = np.where(hidden, score, -np.inf).astype(np.float32)
        hit = measures.hits(top_items(among, 20)[0], asked.targets())
        per_user = {"HR@10": measures.hit_rate(hit, 10), "NDCG@10": measures.ndcg(hit, 10)}
        found[name] = {key: {"mean": float(x.mean()), "interval": bootstrap_interval(x)} for key, x in per_user.items()}
    return {
        "seed": seed, "hidden": int(hidden.sum()), "questions": len(asked), "updates": updates, "settings": changes,
        "seconds": seconds, "commit": commit(), "found": found,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", type=int, default=1_000)
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| seed | hidden films, questions | ranker | HR@10 (95 %) | NDCG@10 (95 %) |\n" + "|---" * 5 + "|")
    for seed in given.seeds:
        one = measured(RESULTS / f"seed{seed}.json", given.table, partial(run, seed, given.updates, {}))
        for name, figures in (one or {"found": {}})["found"].items():
            cells = [f"{x['mean']:.3f} ({x['interval'][0]:.3f} to {x['interval'][1]:.3f})" for x in figures.values()]
            assert one is not None
            print(f"| {seed} | {one['hidden']}, {one['questions']} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
