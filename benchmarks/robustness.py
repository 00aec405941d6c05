"""Robustness: perturbation curves of a plain and of robustly trained agents, and AUROC of unfamiliar states on three shifts.

    SEQEL_DATA=/folder/of/data python benchmarks/robustness.py [--tasks tmaze recall routing] [--seeds 0 1 2] [--only-read]

The agents of a task (`robustness_tasks.py`) learn with the same settings and steps, but for what each robust one adds.
Curves: the same episodes at each strength. Unfamiliar states: detectors are fitted on half of the episodes that an agent
plays; the AUROC compares the states of other episodes with those under a shift: two perturbations, and a world that has
changed. One file per task, agent and seed in benchmarks/results/robustness/; what is there is not measured again.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from measured import commit, measured, train_or_resume
from robustness_tasks import TASKS, RobustTask
from seqel.agents.agent import Agent
from seqel.agents.artifact import weights_checksum
from seqel.evaluation.comparison import improvement_interval, probability_of_improvement
from seqel.robustness import StateReference, auroc, perturbation_curve, play_states

RESULTS = Path(__file__).parent / "results" / "robustness"
PLAIN = "plain"
COLOURS = {PLAIN: "#8a8a8a", "robust": "#1f6fb2", "hinge": "#c8641b"}  # of all agents
DETECTORS = ("mahalanobis", "knn", "softmax")
CURVES = 100_000  # first seed of the episodes of the curves
FIRST = 500_000  # and of those that detectors are fitted on; those of the shifts begin 10,000 later

Found = dict[str, list[dict[str, Any]]]  # of each agent, one result per seed


def familiarity(agent: Agent, task: RobustTask, episodes: int) -> dict[str, Any]:
    """The AUROC of each detector on each shift, and the share of states above its threshold."""
    env = task.test()
    known = play_states(agent, env, episodes, FIRST)
    reference = StateReference.fit(known, weights_checksum(agent.network), false_alarms=0.01)
    calm = play_states(agent, env, episodes, FIRST + 10_000)
    familiar = reference.scores(calm.states, calm.scores)
    found: dict[str, Any] = {"false alarms": _above(reference, familiar)}
    for name, make in task.shifts(agent).items():
        played = play_states(agent, make, episodes, FIRST + 10_000)
        scores = reference.scores(played.states, played.scores)
        found[name] = {
            "auroc": {detector: auroc(familiar[detector], scores[detector]) for detector in DETECTORS},
            "above": _above(reference, scores), "return": float(played.returns.mean()),
        }  # fmt: skip
    return found


def _above(reference: StateReference, scores: dict[str, Any]) -> dict[str, float]:
    return {name: float((scores[name] > reference.thresholds[name]).mean()) for name in DETECTORS}


def measure(name: str, agent_name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Train an agent, or continue, and measure it."""
    task = TASKS[name]
    settings = dict(task.settings) | dict(task.agents.get(agent_name, {}))
    began = time.process_time()
    folder = runs / f"{name}-{agent_name}-{seed}-{task.steps}"
    agent = train_or_resume(folder, task.make(), steps=task.steps, seed=seed, settings=settings)
    seconds, curves, clean = time.process_time() - began, {}, []
    for kind, strengths in task.curves.items():
        curve = perturbation_curve(
            agent, task.test(), kind, strengths, task.episodes, CURVES, environments=min(task.episodes, 100)
        )
        clean = curve.evaluations[0].returns
        curves[kind] = {
            "strengths": list(strengths), "returns": [one.mean for one in curve.evaluations],
            "intervals": [list(one.interval) for one in curve.evaluations],
            "area": curve.area, "area_interval": list(curve.area_interval),
        }  # fmt: skip
        print(
            f"{name} {agent_name} {seed} {kind}: {curve.area:.3f} {[round(one.mean, 3) for one in curve.evaluations]}",
            flush=True,
        )
    return {
        "task": name, "agent": agent_name, "seed": seed, "steps": task.steps, "episodes": task.episodes, "commit": commit(),
        "settings": settings, "seconds": seconds, "clean": [round(float(one), 4) for one in clean], "curves": curves,
        "familiarity": familiarity(agent, task, min(task.episodes, 100)),
    }  # fmt: skip


def clean_difference(found: Found, name: str, resamples: int = 2_000) -> tuple[float, float, float]:
    """Return by what share the clean return of the agents `name` is above that of the plain ones, and its 95 % interval.

    Seeds are drawn in pairs, and the episodes of each, which both agents play, again.
    """
    robust, plain = (np.array([one["clean"] for one in found[agent]]) for agent in (name, PLAIN))  # (seeds, episodes)
    rng, (seeds, episodes) = np.random.default_rng(0), plain.shape
    rows = rng.integers(seeds, size=(resamples, seeds, 1))
    columns = rng.integers(episodes, size=(resamples, seeds, episodes))
    shares = robust[rows, columns].mean(axis=(1, 2)) / plain[rows, columns].mean(axis=(1, 2)) - 1.0
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(robust.mean() / plain.mean() - 1.0), float(low), float(high)


def report(task: str, found: Found) -> None:
    """Print clean returns, areas by agent, the probability that robust training improves them, and the AUROC."""
    for name in found:
        if name != PLAIN and 0 < len(found[name]) == len(found.get(PLAIN, [])):
            _compare(task, found, name)
    print("\n| agent | shift | return | " + " | ".join(DETECTORS) + " |\n" + "|---" * (3 + len(DETECTORS)) + "|")
    for name, some in found.items():
        for shift in some[0]["familiarity"] if some else ():
            if shift == "false alarms":
                shares = [f"{np.mean([run['familiarity'][shift][one] for run in some]):.1%}" for one in DETECTORS]
                print(f"| {name} | false alarms | | {' | '.join(shares)} |")
                continue
            results = [run["familiarity"][shift] for run in some]
            values = [_range([one["auroc"][detector] for one in results]) for detector in DETECTORS]
            print(f"| {name} | {shift} | {np.mean([one['return'] for one in results]):.3g} | {' | '.join(values)} |")


def _compare(task: str, found: Found, name: str) -> None:
    share, low, high = clean_difference(found, name)
    pair = (PLAIN, name)
    means = [f"{agent} {_range([float(np.mean(one['clean'])) for one in found[agent]])}" for agent in pair]
    print(f"\n{task}: clean return {', '.join(means)}: {share:+.2%} ({low:+.2%} to {high:+.2%})\n")
    print(f"| perturbation | plain, area | {name}, area | difference | P({name} is better) |\n|---|---|---|---|---|")
    everything: dict[str, list[list[float]]] = {agent: [] for agent in pair}
    for kind, strengths in TASKS[task].curves.items():
        areas = {agent: [one["curves"][kind]["area"] for one in found[agent]] for agent in pair}
        for agent in pair:
            everything[agent].append(areas[agent])
        print(_row(f"`{kind}` to {strengths[-1]:g}", areas[name], areas[PLAIN]))
    print(_row("mean", *(np.mean(everything[agent], axis=0).tolist() for agent in (name, PLAIN))))


def _row(title: str, robust: list[float], plain: list[float]) -> str:
    low, high = improvement_interval([robust], [plain])
    within = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
    gain = [one - other for one, other in zip(robust, plain, strict=True)]
    chance = f"{probability_of_improvement([robust], [plain]):.2f}{within}"
    return f"| {title} | {_range(plain)} | {_range(robust)} | {_range(gain, '+')} | {chance} |"


def _range(values: list[float], sign: str = "") -> str:
    """The mean and the range of the seeds."""
    digits = 1 if max(map(abs, values)) >= 20 else 3
    mean, low, high = (f"{one:{sign}.{digits}f}" for one in (np.mean(values), min(values), max(values)))
    return f"{mean} ({low} to {high})"


def draw(found: dict[str, Found], path: Path) -> None:
    """Draw the mean return of the seeds against the strength, one row per task, with the range of the seeds."""
    from matplotlib.figure import Figure

    columns = max(len(TASKS[task].curves) for task in found)
    figure = Figure(figsize=(2.3 * columns, 2.3 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), columns, squeeze=False)
    for row, (task, agents) in zip(axes, found.items(), strict=True):
        for axis in row[len(TASKS[task].curves) :]:
            axis.set_axis_off()
        for axis, (kind, strengths) in zip(row, TASKS[task].curves.items(), strict=False):
            for name, some in agents.items():
                lines, colour = np.array([one["curves"][kind]["returns"] for one in some]), COLOURS[name]
                if len(lines):
                    axis.plot(strengths, lines.mean(axis=0), color=colour, marker="o", ms=3, lw=1.5, label=name)
                    axis.fill_between(strengths, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.15, lw=0)
            axis.set_title(f"{task}: {kind}", fontsize=9)
            axis.tick_params(labelsize=7)
            axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("mean return", fontsize=8)
    axes[0][0].legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--agents", nargs="+", choices=COLOURS, default=list(COLOURS))
    parser.add_argument("--runs", type=Path, default=Path("runs/robustness"), help="where the trainings lie")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only-read", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves into this file")
    given = parser.parse_args()
    found: dict[str, Found] = {
        task: {name: [] for name in given.agents if name == PLAIN or name in TASKS[task].agents} for task in given.tasks
    }
    for task in given.tasks:
        for seed in given.seeds:
            for name in found[task]:
                path = given.results / f"{task}-{name}-{seed}.json"
                one = measured(path, given.only_read, partial(measure, task, name, seed, given.runs))
                if one is not None:
                    found[task][name].append(one)
        report(task, found[task])
    if given.plot:
        draw(found, given.plot)


if __name__ == "__main__":
    main()
