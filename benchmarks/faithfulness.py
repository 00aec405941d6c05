"""Which explanations are true to the network: deletion, insertion, and the rank of steps that are known to matter.

    SEQEL_DATA=/folder/of/data python benchmarks/faithfulness.py [--tasks tmaze memory-s7 count-recall text games]
                                                                 [--seeds 0 1 2] [--length 50]
    python benchmarks/faithfulness.py --run RUN [--env-seed 0] [--decisions 30]   a run folder: deletion and insertion alone
    python benchmarks/faithfulness.py report                                     the tables of what was measured

Trains one agent per task and seed in --runs (a T-Maze takes a minute, CountRecall five on an idle core), continues a training
that was cut off, and measures every method on fresh episodes or held-out sequences. Where it is known which steps a decision
has to use, it measures random weights as well. Results are JSON files in --results, one per task and seed; what is there is
not measured again. `faithfulness_measure.py` says what is measured, and the other files on which decisions.

The rank alone is no test: in the T-Maze the cue is the only step that differs, so most methods rank it first in any network.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import faithfulness_report as report
from faithfulness_data import DATA_TASKS, DataTask
from faithfulness_measure import measure
from faithfulness_tasks import TASKS, Decision, Task
from measured import commit, measured, show, train_or_resume
from seqel.agents.agent import Agent
from seqel.explanation.attribute import attribute
from seqel.explanation.reading import Reading
from seqel.explanation.trace import record_episode
from seqel.explanation.weight_randomisation import randomise_weights
from seqel.runs.run_config import read_run_config

RESULTS = Path(__file__).parent / "results" / "faithfulness"
FRESH = 20_000  # the seed of the first fresh episode
RANDOM_NETWORKS = 3
EPISODES = 400  # at most, to find decisions in


def played(name: str, task: Task, seed: int, count: int, folder: Path) -> dict[str, Any]:
    """Train in an environment; measure with the trained weights and with random ones, on the same fresh episodes."""
    settings = {
        "threads": 1, "device": "cpu", "env_args": task.args, "validation.stop": True,
        "validation.threshold": task.threshold, **task.settings,
    }  # fmt: skip
    agent = train_or_resume(folder, task.env, steps=task.steps, seed=seed, settings=settings, progress=show)
    began = time.process_time()
    decisions: list[Decision] = []
    episodes = 0
    while len(decisions) < count and episodes < EPISODES:
        decisions += task.decisions(agent, task, FRESH + episodes)
        episodes += 1
    decisions = decisions[:count]
    others = [randomise_weights(agent, 1_000 * seed + number) for number in range(RANDOM_NETWORKS)]
    returns = [float(one.trace.reward.sum()) for one in decisions]
    return facts(name, agent, seed) | {
        "env": task.env, "args": task.args, "validation": agent.info.get("validation"), "episodes": episodes,
        "return": float(np.mean(returns)) if returns else None,
        "trained": measure(agent, decisions, seed, others[0]),
        "random": [measure(other, decisions, seed, areas=False) for other in others],
        "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def recorded(name: str, task: DataTask, seed: int, count: int, folder: Path) -> dict[str, Any]:
    """Train on recorded sequences, and measure on held-out ones."""
    agent = task.train(folder, seed, task.updates)
    began = time.process_time()
    decisions = task.decisions(agent, count, seed)
    return facts(name, agent, seed) | {
        "updates": task.updates, **task.score(agent),
        "trained": measure(agent, decisions, seed, randomise_weights(agent, 1_000 * seed)),
        "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def facts(name: str, agent: Agent, seed: int) -> dict[str, Any]:
    config = agent.network.config
    return {
        "task": name, "seed": seed, "commit": commit(),
        "network": {"layers": config.layers, "width": config.width, "context": config.context},
    }  # fmt: skip


def measure_run(folder: Path, env_seed: int, episodes: int) -> dict[str, Any]:
    """Measure deletion and insertion on the decisions of a run's episodes that depend most on the past, one per episode."""
    from seqel.environments.resolve import resolve

    agent = Agent.load(folder)
    config = read_run_config(folder, trust=False)
    make = resolve(config.env, **config.env_args)
    decisions = []
    for episode in range(max(2, episodes)):
        trace = record_episode(agent, make, env_seed + episode, limit=300)
        if len(trace) > 1:
            past = np.tril(np.abs(attribute(agent, trace, reading=Reading(agent, trace)))[:, : len(trace)], -1)
            decisions.append(Decision(trace, int(past.max(axis=1)[1:].argmax()) + 1))
    return measure(agent, decisions, 0)


def main() -> None:
    every = [*TASKS, *DATA_TASKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["measure", "report"], default="measure")
    parser.add_argument("--tasks", nargs="+", choices=every, default=every)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--length", type=int, default=50, help="steps of the T-Maze's corridor")
    parser.add_argument("--decisions", type=int, help="per task and seed, instead of the task's own number")
    parser.add_argument("--runs", type=Path, default=Path("runs/faithfulness"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--run", type=Path, help="a run folder to measure, without training")
    parser.add_argument("--env-seed", type=int, default=FRESH, help="with --run: the seed of the first episode")
    arguments = parser.parse_args()
    if arguments.what == "report":
        print(report.report(arguments.results))
        return
    if arguments.run is not None:
        found = measure_run(arguments.run, arguments.env_seed, arguments.decisions or 30)
        print(report.table(str(arguments.run), found["methods"]))
        return
    for name in arguments.tasks:
        label, work = name, _work(name, arguments)
        if name == "tmaze":
            label = f"tmaze-{arguments.length}"
        for seed in arguments.seeds:
            place = f"{label}-seed{seed}"
            print(f"{place} ...", file=sys.stderr, flush=True)
            measured(
                arguments.results / f"{place}.json", False, partial(work, seed=seed, folder=arguments.runs / place)
            )
    print(report.report(arguments.results))


def _work(name: str, arguments: argparse.Namespace) -> Callable[..., dict[str, Any]]:
    if name in DATA_TASKS:
        known = DATA_TASKS[name]
        return partial(recorded, name, known, count=arguments.decisions or known.count)
    task = TASKS[name]
    if name == "tmaze":
        task = dataclasses.replace(task, args={"length": arguments.length})
    return partial(played, name, task, count=arguments.decisions or task.count)


if __name__ == "__main__":
    main()
