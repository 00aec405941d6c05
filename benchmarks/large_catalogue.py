"""A catalogue of a million items: memory, the time of an update, and the time until the best 20 are known.

    python benchmarks/large_catalogue.py [--items 1000000] [--width 64]

Histories are made up, of items drawn at random: what is measured does not depend on them. The update has 4,096 steps and 256
sampled negatives; the exact list scores every item, the approximate one searches an index (`agent.rank(approximate=True)`).
Its recall depends on the vectors, so it is measured twice: with independent ones, the hardest case, and with items in 2,000
groups, as trained vectors have them. Seconds are those of one core.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measured import commit, memory
from seqel.agents.agent import Agent
from seqel.networks.qnetwork import QNetwork
from seqel.ranking import Interactions, ranking_data
from seqel.training.config import preset, with_settings
from seqel.training.learner import Learner

RESULTS = Path(__file__).parent / "results" / "large-catalogue"
USERS, LENGTH, UPDATES, ASKED, GROUPS = 2_000, 50, 20, 50, 2_000


def run(items: int, width: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), LENGTH)
    data = Interactions.of(user, rng.integers(items, size=len(user)), items=range(items))
    split = data.leave_one_out()
    source = ranking_data(split.train, split.validation.subset(np.arange(50)))
    config = with_settings(
        preset("next-item"),
        {
            "network.width": width,
            "network.context": 50,
            "network.policy_head": "greedy",
            "learner.target_rate": 0.01,
            "learner.learning_rate": 1e-3,
        },
    )
    before = memory()
    torch.manual_seed(0)
    network = QNetwork(config.network, source.observation, source.action)
    of_agent = memory() - before
    learner = Learner(network, config.objective, config.learner)
    training = source.buffer.subset(source.split(0.1, 0)[0])

    def update() -> None:
        batch = training.sample(82, window=50, context=50, discount=0.0, rng=rng, pack=True)
        learner.update(batch)

    update()
    began = time.process_time()
    for _ in range(UPDATES):
        update()
    per_update, of_training = (time.process_time() - began) / UPDATES, memory() - before
    agent = Agent(network)
    histories = [history.tolist() for history in split.test.histories()[:ASKED]]
    found = {"independent": lists(agent, histories)}
    table = network.tokens.items
    assert table is not None
    groups = torch.randn(GROUPS, width)
    with torch.no_grad():
        table.own.weight.copy_(0.1 * (groups[torch.randint(GROUPS, (items,))] + 0.7 * torch.randn(items, width)))
    found["groups"] = lists(Agent(network), histories)
    return {
        "items": items, "width": width, "update": per_update,
        "agent_gib": of_agent / 1_024, "training_gib": of_training / 1_024,
        "lists": found,
        "parameters": sum(p.numel() for p in network.parameters()), "commit": commit(),
    }  # fmt: skip


def lists(agent: Agent, histories: list[list[int]]) -> dict[str, float]:
    """Return milliseconds per list of 20, exact and approximate, and the share of the exact list that is found."""
    began = time.process_time()
    agent.rank(histories[0], approximate=True)
    build = time.process_time() - began
    taken: dict[bool, list[float]] = {False: [], True: []}
    recall = []
    for history in histories:
        best = []
        for approximate in taken:
            began = time.perf_counter()
            best.append(set(agent.rank(history, approximate=approximate)[0]))
            taken[approximate].append(1e3 * (time.perf_counter() - began))
        recall.append(len(best[0] & best[1]) / 20)
    return {
        "exact_ms": float(np.median(taken[False])), "exact_p95_ms": float(np.quantile(taken[False], 0.95)),
        "approximate_ms": float(np.median(taken[True])), "approximate_p95_ms": float(np.quantile(taken[True], 0.95)),
        "recall": float(np.mean(recall)), "index_s": build,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = run(given.items, given.width)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{given.items}-{given.width}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
