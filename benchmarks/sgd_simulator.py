"""Agents of `sgd_dialogues.py` in a simulator of customers that retrieves what they say from the dialogues of the test split.

    SEQEL_DATA=/folder/of/data python benchmarks/sgd_simulator.py [--who NAME ...] [--split dev] [--seeds 0] [--table]

Run `sgd_dialogues.py` first: its agents are read from runs/sgd. `--split dev` has other customers, for choices. Services that
occur in no training dialogue are measured apart. Beside the agents: what people got in the same dialogues, the decisions of
people with a share of random ones, always the most frequent decision, always the notification that pays, and random
decisions. Return: successes, less 0.05 per decision. The simulator has never seen the training dialogues, and the agents have
never seen those of the simulator. How far to trust it: the correlation of what followed each recorded decision with what
followed the decision of another dialogue that the simulator would retrieve for it.
Results: benchmarks/results/sgd-simulator/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqel
from measured import commit, measured
from seqel.agents.agent import AgentState
from seqel.datasets.dialogues import rows_of
from seqel.datasets.encoding import Encoding
from seqel.evaluation.statistics import bootstrap_interval
from seqel.tasks.customers.retrieval import RetrievedCustomers
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from sgd_dialogues import METHODS, WORK, read
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "sgd-simulator"
Decide = Callable[[str, float], int]  # what the customer said, and the reward of the last decision -> a decision
Begin = Callable[[], Decide]  # begins an episode
PLAYERS = ("people", "people, 0.2 random", "most frequent", "notify", "random")


def simulator(actions: tuple[str, ...], split: str = "test") -> tuple[RetrievedCustomers, dict[str, NDArray[np.int64]]]:
    """Return the simulator of all dialogues of a split, and which of them are about known and about new services."""
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=64))
    assert reader is not None
    known = set().union(*(services for _, services in read("train")))
    some = [(rows_of(one, "", {}), services <= known) for one, services in read(split)]
    seen = np.array([one for _, one in some])
    env = RetrievedCustomers([rows for rows, _ in some], lambda texts: reader.read(list(texts)), actions)
    return env, {"known services": np.flatnonzero(seen), "a new service": np.flatnonzero(~seen)}


def check(env: RetrievedCustomers) -> dict[str, float]:
    """Compare what is retrieved from other dialogues with what followed: the return that was still to come."""
    total = np.concatenate([[0.0], np.cumsum(env.reward)])
    to_come = total[np.flatnonzero(env.last)[env.dialogue] + 1] - total[:-1]
    found, similarity = env.nearest_of_another()
    some = similarity >= env.least
    average = np.array([to_come[env.action == code].mean() for code in range(len(env.actions))])[env.action]
    return {
        "decisions": len(found), "supported": float(some.mean()),
        "correlation of the return to come": float(np.corrcoef(to_come[some], to_come[found[some]])[0, 1]),
        "correlation with the decision's mean": float(np.corrcoef(to_come[some], average[some])[0, 1]),
        "mean return to come": float(to_come[some].mean()), "retrieved": float(to_come[found[some]].mean()),
    }  # fmt: skip


def player(who: str, env: RetrievedCustomers) -> Begin:
    """Return a player that is no agent; it knows what the recorded person did in the situation of the simulator."""
    rng = np.random.default_rng(7)
    frequent = int(np.bincount(env.action).argmax())
    pays = int(np.argmax([env.reward[env.action == code].mean() for code in range(len(env.actions))]))

    def decide(said: str, reward: float) -> int:
        if who == "random" or (who == "people, 0.2 random" and rng.random() < 0.2):
            return int(rng.integers(len(env.actions)))
        return {"most frequent": frequent, "notify": pays}.get(who, int(env.action[env.turn]))

    return lambda: decide


def playing(agent: seqel.Agent) -> Begin:
    """Return the player that an agent is."""

    def begin() -> Decide:
        state: AgentState | None = None

        def decide(said: str, reward: float) -> int:
            nonlocal state
            decision, state = agent.act({"text/said": [said]}, state, reward=reward)
            return int(decision.action[0])

        return decide

    return begin


def play(env: RetrievedCustomers, begin: Begin, numbers: NDArray[np.int64]) -> dict[str, Any]:
    """Play an episode with the customer of each dialogue."""
    returns, steps, understood = [], [], []
    for seed, number in enumerate(numbers.tolist()):
        seen, _ = env.reset(seed=seed, options={"dialogue": number})
        decide, reward, total, over, count = begin(), 0.0, 0.0, False, 0
        while not over:
            seen, reward, ended, truncated, info = env.step(decide(seen["text/said"], reward))
            total, count, over = total + reward, count + 1, ended or truncated
            understood.append(info["understood"])
        returns.append(total)
        steps.append(count)
    return summary(returns, steps, understood)


def summary(returns: list[float], steps: list[int], understood: list[bool]) -> dict[str, Any]:
    won = np.asarray(returns) + 0.05 * np.asarray(steps)
    return {
        "return": float(np.mean(returns)), "interval": bootstrap_interval(returns), "successes": float(won.mean()),
        "decisions": float(np.mean(steps)), "understood": float(np.mean(understood)),
        "returns": " ".join(f"{one:.3g}" for one in returns),
    }  # fmt: skip


def run(who: str, seed: int, split: str, episodes: int) -> dict[str, Any]:
    began = time.perf_counter()
    agent = None if who in PLAYERS else seqel.Agent.load(WORK / f"{who}-{seed}")
    stored = seqel.Agent.load(next(WORK.glob("*-0"))) if agent is None else agent
    env, parts = simulator(Encoding.from_json(stored.info["encoding"]).actions, split)
    chosen = {name: np.random.default_rng(0).permutation(these)[:episodes] for name, these in parts.items()}
    found: dict[str, Any] = {
        name: play(env, player(who, env) if agent is None else playing(agent), these) for name, these in chosen.items()
    }
    if who == "people":
        found["retrieval"] = check(env)
    return {
        "who": who,
        "split": split,
        "seed": seed,
        "least": env.least,
        **found,
        "commit": commit(),
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--who", nargs="+", choices=(*PLAYERS, *METHODS), default=[*PLAYERS, "behaviour-cloning", "offline-iql"]
    )
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--episodes", type=int, default=1_000, help="at most, of known and of new services each")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| who | seed | services | return (95 %) | successes | decisions | understood |\n" + "|---" * 7 + "|")
    for who in given.who:
        for seed in [0] if who in PLAYERS else given.seeds:
            path = RESULTS / f"{given.split}-{who.replace(', ', '-').replace(' ', '-')}-seed{seed}.json"
            one = measured(path, given.table, partial(run, who, seed, given.split, given.episodes))
            if one is None:
                continue
            for name in ("known services", "a new service"):
                part = one[name]
                low, high = part["interval"]
                print(
                    f"| {who} | {seed} | {name} | {part['return']:.3f} ({low:.3f} to {high:.3f}) | {part['successes']:.2f} "
                    f"| {part['decisions']:.1f} | {part['understood']:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
