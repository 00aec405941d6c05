"""Which explanations are true to the network: deletion, insertion, and the rank of steps that are known to matter.

    python benchmarks/faithfulness.py [--tasks tmaze memory-s7 count-recall] [--seeds 0 1 2] [--length 50]
    python benchmarks/faithfulness.py --run RUN [--env-seed 0] [--episodes 30]    a run folder: deletion and insertion alone
    python benchmarks/faithfulness.py report                                        the tables of what was measured

Trains one agent per task and seed in --runs (a T-Maze takes minutes, CountRecall a quarter of an hour), continues a
training that was cut off, and measures every method on fresh episodes, once with the trained weights and once with random
ones. Results are JSON files in --results, one per task and seed; what is there is not measured again.

deletion, insertion   areas under the curves of `seqel.explanation.faithfulness`; random is a random order of the past steps
rank, first           mean rank of the best relevant step, and how often it is 1
separation            the probability that a relevant past step has a larger magnitude than another one; chance is 0.5
decides               how often the action changes if the relevant steps show something else, a property of the agent
likeness              rank correlation of the magnitudes with those of the same network with random weights
passes                separation of at least 0.9, and the relevant steps decide in at least half of the decisions

The rank alone is no test: in the T-Maze the cue is the only step that differs, so most methods rank it first in any network.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faithfulness_tasks import TASKS, Decision, Task
from measured import commit, measured, show, train_or_resume
from seqel.agents.agent import Agent
from seqel.explanation.attribute import attribute
from seqel.explanation.faithfulness import faithfulness, rank_of, separation
from seqel.explanation.methods.registry import method_names
from seqel.explanation.randomised import randomised
from seqel.explanation.reading import Reading
from seqel.explanation.trace import record_episode
from seqel.runs.run_config import read_run_config

RESULTS = Path(__file__).parent / "results" / "faithfulness"
FRESH = 20_000  # the seed of the first fresh episode
RANDOM_NETWORKS = 3
RANDOM_ORDERS = 3
EXCHANGED = 8  # other episodes for the exchange of steps
SEPARATED, DECIDES = 0.9, 0.5  # what passes


def measure_decision(
    reading: Reading, step: int, rng: np.random.Generator, names: list[str]
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Return the areas of each method, and of random orders, for one decision; and the attributions."""
    rows = {name: attribute(reading.agent, reading.trace, name, [step], reading=reading) for name in names}
    found: dict[str, dict[str, float]] = {}
    for name, row in rows.items():
        found[name] = _areas(reading, [row], step)
    shape = (1, len(reading))
    found["random"] = _areas(reading, [rng.random(shape) for _ in range(RANDOM_ORDERS)], step)
    rows["random"] = rng.random(shape).astype(np.float32)
    return found, {name: row[0] for name, row in rows.items()}


def _areas(reading: Reading, rows: list[np.ndarray], step: int) -> dict[str, float]:
    every = [faithfulness(reading.agent, reading.trace, row, [step], reading=reading) for row in rows]
    return {
        field.name: float(np.mean([getattr(one, field.name)[0] for one in every]))
        for field in dataclasses.fields(every[0])
    }


def known_steps(agent: Agent, decisions: list[Decision], others: list[Agent], seed: int) -> dict[str, Any]:
    """Measure every method on decisions whose relevant steps are known; `likeness` is to the first of the other agents."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(seed)
    names = method_names(agent.network.trunk.has_attention)
    episodes = {id(one.trace): one.trace for one in decisions}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in [*names, "random"]}
    decides = []
    for one in decisions:
        elsewhere = [trace for trace in episodes.values() if trace is not one.trace][:EXCHANGED]
        reading = Reading(agent, one.trace, elsewhere)
        areas, weights = measure_decision(reading, one.step, rng, names)
        altered = Reading(agent, one.altered)
        decides.append(float(_action(reading, one.step) != _action(altered, one.step)))
        for name, found in areas.items():
            rank = rank_of(weights[name], one.relevant, one.step)
            found |= {"rank": rank, "first": float(rank == 1.0)}
            found["separation"] = separation(weights[name], one.relevant, one.step)
            if others and name != "random" and one.step > 2:
                theirs = attribute(others[0], one.trace, name, [one.step], others=elsewhere)[0]
                mine = np.abs(weights[name][: one.step])
                found["likeness"] = float(spearmanr(mine, np.abs(theirs[: one.step])).statistic)
            rows[name].append(found)
    if not decisions:  # the agent never saw what it should remember
        return {"decisions": 0, "decides": 0.0, "methods": {}}
    share = float(np.mean(decides))
    methods = {name: _means(some) for name, some in rows.items()}
    for found in methods.values():
        found["passes"] = bool(found["separation"] >= SEPARATED and share >= DECIDES)
    return {"decisions": len(decisions), "decides": share, "methods": methods}


def _action(reading: Reading, step: int) -> list[int]:
    import torch

    with torch.no_grad():
        h = reading.states(reading.tokens[None])[0, step : step + 1]
        found: list[int] = reading.decision_scores(h, [step]).argmax(dim=-1)[0].tolist()
    return found


def _means(rows: list[dict[str, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if name in row and np.isfinite(row[name])]
        found[name] = round(float(np.mean(values)), 4) if values else None
    return found


def measure_task(name: str, task: Task, seed: int, episodes: int, folder: Path) -> dict[str, Any]:
    """Train, then measure with the trained weights and with random ones, on the same episodes."""
    settings: dict[str, Any] = {"threads": 1, "device": "cpu", "env_args": task.args, "validation.stop": True}
    if task.threshold is None:
        settings["validation.stop"] = False
    else:
        settings["validation.threshold"] = task.threshold
    agent = train_or_resume(folder, task.env, steps=task.steps, seed=seed, settings=settings, progress=show)
    began = time.perf_counter()
    decisions: list[Decision] = []
    for episode in range(episodes):
        decisions += task.decisions(agent, task, FRESH + episode)
    others = [randomised(agent, 1_000 * seed + number) for number in range(RANDOM_NETWORKS)]
    found = {
        "task": name, "env": task.env, "args": task.args, "seed": seed, "commit": commit(),
        "network": {"layers": agent.network.config.layers, "context": agent.network.config.context},
        "validation": agent.info.get("validation"),
        "return": float(np.mean([one.trace.reward.sum() for one in decisions])) if decisions else None,
        "trained": known_steps(agent, decisions, others, seed),
        "random": [known_steps(other, decisions, [], seed) for other in others],
    }  # fmt: skip
    return found | {"seconds": round(time.perf_counter() - began, 1)}


def measure_run(folder: Path, env_seed: int, episodes: int) -> dict[str, Any]:
    """Measure deletion and insertion on the decisions of a run's episodes that depend most on the past, one per episode."""
    from seqel.environments.resolve import resolve

    agent = Agent.load(folder)
    config = read_run_config(folder, trust=False)
    names = method_names(agent.network.trunk.has_attention)
    make = resolve(config.env, **config.env_args)
    traces = [record_episode(agent, make, env_seed + episode, limit=300) for episode in range(max(2, episodes))]
    rng, rows = np.random.default_rng(0), {name: [] for name in [*names, "random"]}  # type: ignore[var-annotated]
    for trace in traces:
        reading = Reading(agent, trace, [other for other in traces if other is not trace][:EXCHANGED])
        past = np.tril(np.abs(attribute(agent, trace, reading=reading)[:, : len(trace)]), -1).max(axis=1)
        if len(trace) < 2:
            continue
        found, _ = measure_decision(reading, int(past[1:].argmax()) + 1, rng, names)
        for name, areas in found.items():
            rows[name].append(areas)
    return {"run": str(folder), "episodes": episodes, "methods": {name: _means(some) for name, some in rows.items()}}


COLUMNS = ("deletion", "insertion", "deletion_kept", "rank", "first", "separation", "likeness", "passes")


def table(title: str, methods: dict[str, dict[str, Any]]) -> str:
    """Return the methods as a table of Markdown."""
    columns = [column for column in COLUMNS if any(column in found for found in methods.values())]
    lines = [title, "", f"| method | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, found in methods.items():
        cells = [_cell(found.get(column)) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.2f}"


def report(folder: Path) -> None:
    """Print the tables of all results."""
    for path in sorted(folder.glob("*.json")):
        print_result(json.loads(path.read_text(encoding="utf-8")))


def print_result(found: dict[str, Any]) -> None:
    """Print one result: the trained network, and the mean over the random ones."""
    what = f"{found['task']} {found['args'] or ''}, seed {found['seed']}"
    trained = found["trained"]
    title = f"{what}: trained, {trained['decisions']} decisions, the relevant steps decide in {trained['decides']:.0%}"
    print(table(title, trained["methods"]), end="\n\n")
    random = found["random"]
    share = float(np.mean([one["decides"] for one in random]))
    means = {name: _means([one["methods"][name] for one in random]) for name in random[0]["methods"]}
    for name, one in means.items():
        one["passes"] = any(single["methods"][name]["passes"] for single in random)
    print(table(f"{what}: {len(random)} random networks, the relevant steps decide in {share:.0%}", means), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["measure", "report"], default="measure")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--length", type=int, default=50, help="steps of the T-Maze's corridor")
    parser.add_argument("--episodes", type=int, default=30, help="fresh episodes per task and seed")
    parser.add_argument("--runs", type=Path, default=Path("runs/faithfulness"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--run", type=Path, help="a run folder to measure, without training")
    parser.add_argument("--env-seed", type=int, default=FRESH, help="with --run: the seed of the first episode")
    arguments = parser.parse_args()
    if arguments.what == "report":
        report(arguments.results)
        return
    if arguments.run is not None:
        found = measure_run(arguments.run, arguments.env_seed, arguments.episodes)
        print(table(f"{arguments.run}: {arguments.episodes} episodes", found["methods"]))
        return
    for name in arguments.tasks:
        task, label = TASKS[name], name
        if name == "tmaze":
            task, label = dataclasses.replace(task, args={"length": arguments.length}), f"tmaze-{arguments.length}"
        for seed in arguments.seeds:
            place = f"{label}-seed{seed}"
            print(f"{place} ...", file=sys.stderr, flush=True)
            work = partial(measure_task, name, task, seed, arguments.episodes, arguments.runs / place)
            measured(arguments.results / f"{place}.json", False, work)
            print_result(json.loads((arguments.results / f"{place}.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
