"""Agents that read recorded sequences, and decisions on held-out ones, for `faithfulness.py`.

text              a question of Banking77, one word per step; the decision is its intent, one of 77, after the last word;
                  questions of the test part
games, movielens  the latest 200 items of a user of Amazon Video Games or MovieLens-100k; the decision is the next item among
                  those that the user has not had; the item that came next, and the one before, were not trained on

Which past steps these decisions have to use is not known.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import recommend
from faithfulness_tasks import Decision
from measured import train_or_resume
from seqel.agents.agent import Agent
from seqel.datasets import Schema, load
from seqel.datasets.encoding import CONSTANT
from seqel.explanation.recorded import trace_session
from seqel.explanation.trace import EpisodeTrace, decision_scores
from seqel.ranking import agent_ranker, evaluate_ranker, ranking_data
from seqel.ranking.data import HISTORY
from seqel.runs.folder import SUMMARY
from seqel.training.sources import reencode_for_agent

__all__ = ["DATA_TASKS", "DataTask"]

COLUMNS = ("session", "number", "word", "intent", "reward")
SCHEMA = """session = "session"
order = "number"
action = "intent"
reward = "reward"

[observation]
word = "category"
"""
HERE = Path(__file__).parent
FEWEST_WORDS, FEWEST_ITEMS = 5, 10
SCORED = 500  # questions or users that an agent's score is measured on
TEXT: dict[str, Any] = {
    "network.context": 48, "replay.window": 96, "network.dropout": 0.2, "learner.learning_rate": 2e-3,
    "network.previous_action": False, "network.previous_reward": False,  # the recorded action is the answer
    "learner.average_rate": 0.02, "offline.every": 250, "threads": 1, "device": "cpu",
}  # fmt: skip
ITEMS: dict[str, dict[str, Any]] = {"games": {"learner.sampled_negatives": 2_048}, "movielens": {}}


@dataclass(frozen=True)
class DataTask:
    """How an agent is trained, decisions to explain, and how good the agent is."""

    updates: int
    count: int  # decisions per seed
    train: Callable[[Path, int, int], Agent]  # folder, seed, updates
    decisions: Callable[[Agent, int, int], list[Decision]]  # agent, how many, seed
    score: Callable[[Agent], dict[str, float]]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[a-z0-9']+", text.lower())


def write_table(part: str, folder: Path) -> tuple[Path, Path]:
    """Write the questions of a part of Banking77, one word per row, and the schema; one session per question."""
    folder.mkdir(parents=True, exist_ok=True)
    table, schema = folder / f"{part}.csv", folder / "schema.toml"
    source = Path(os.environ["SEQEL_DATA"]) / "banking77" / f"{part}.csv"
    with source.open(encoding="utf-8", newline="") as given, table.open("w", encoding="utf-8", newline="") as made:
        rows = csv.writer(made)
        rows.writerow(COLUMNS)
        for session, row in enumerate(csv.DictReader(given)):
            rows.writerows(
                [f"{part}-{session}", number, word, row["category"], 1]
                for number, word in enumerate(words(row["text"]))
            )
    schema.write_text(SCHEMA, encoding="utf-8")
    return table, schema


def train_text(folder: Path, seed: int, updates: int) -> Agent:
    if (folder / SUMMARY).exists():
        return Agent.load(folder)
    table, schema = write_table("train", HERE.parent / "runs" / "banking77")
    return train_or_resume(
        folder, data=table, schema=schema, steps=updates, seed=seed, preset="behaviour-cloning", settings=TEXT
    )


@cache
def _questions(folder: Path) -> Any:
    table, schema = write_table("test", folder)
    return load(table, Schema.load(schema), cache=folder / "store")


def _test_traces(agent: Agent) -> list[EpisodeTrace]:
    read: Any = reencode_for_agent(_questions(HERE.parent / "runs" / "banking77"), agent.info["encoding"])
    return [trace_session(read.buffer, place) for place in range(read.buffer.episodes)]


def text_decisions(agent: Agent, count: int, seed: int) -> list[Decision]:
    """The intent after the last word of questions of the test part."""
    traces = [trace for trace in _test_traces(agent) if len(trace) >= FEWEST_WORDS]
    some = np.random.default_rng(seed).permutation(len(traces))[:count]
    return [Decision(traces[place], len(traces[place]) - 1) for place in some]


def text_score(agent: Agent) -> dict[str, float]:
    """How many of some questions of the test part get the right intent."""
    every = _test_traces(agent)
    some = [every[place] for place in np.random.default_rng(0).permutation(len(every))[:SCORED]]
    right = [decision_scores(agent, one)[len(one) - 1].argmax() == one.action[-1] for one in some]
    return {"accuracy": round(float(np.mean(right)), 4)}


def train_items(data: str, folder: Path, seed: int, updates: int) -> Agent:
    if (folder / SUMMARY).exists():
        return Agent.load(folder)
    split = recommend.split_of(data)
    source = ranking_data(split.train, recommend.asked_of(split))
    settings = recommend.OWN[data] | ITEMS[data]
    return train_or_resume(folder, data=source, steps=updates, seed=seed, preset="next-item", settings=settings)


def item_decisions(data: str, agent: Agent, count: int, seed: int) -> list[Decision]:
    """The item to recommend before each user's last one; what the user has had is masked."""
    test = recommend.split_of(data).test
    known = test.subset(np.flatnonzero(test.stop - test.start >= FEWEST_ITEMS))
    some = known.subset(np.random.default_rng(seed).permutation(len(known))[:count])
    found = []
    for items, stop in zip(some.histories(), some.stop, strict=True):
        read = items[-HISTORY:]
        mask = np.ones((len(read) + 1, len(some.source.items)), bool)
        mask[-1, items] = False
        trace = EpisodeTrace(
            {CONSTANT: np.zeros((len(read) + 1, 1), np.uint8)}, read, some.source.rating[stop - len(read) : stop],
            np.zeros((0, 0), np.float32), None, action_mask=mask,
        )  # fmt: skip
        found.append(Decision(trace, len(read)))
    return found


def item_score(data: str, agent: Agent) -> dict[str, float]:
    """NDCG@10 and HR@10 of the last item of some users."""
    test = recommend.split_of(data).test
    some = test.subset(np.sort(np.random.default_rng(0).permutation(len(test))[:SCORED]))
    means = evaluate_ranker(agent_ranker(agent, HISTORY), some).means()
    return {name: round(float(means[name]), 4) for name in ("NDCG@10", "HR@10")}


def _items(data: str, updates: int, count: int) -> DataTask:
    return DataTask(
        updates, count, partial(train_items, data), partial(item_decisions, data), partial(item_score, data)
    )


DATA_TASKS: dict[str, DataTask] = {
    "text": DataTask(2_000, 100, train_text, text_decisions, text_score),
    "games": _items("games", 10_000, 100),
    "movielens": _items("movielens", 1_500, 40),
}
