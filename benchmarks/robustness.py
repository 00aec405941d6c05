"""Robustness: perturbation curves of a plain and a robustly trained agent, and AUROC of unfamiliar states on three shifts.

    python benchmarks/robustness.py [--seeds 0 1 2 3 4] [--steps 40000] [--episodes 50] [--tiny] [--only-read]

Both agents learn CartPole-v1 with the same settings and steps. The robust one also has noise on observations, hidden steps,
and the hinge of SA-DQN. Curves: the same episodes at each strength. Unfamiliar states: detectors are fitted on half of the
episodes that an agent plays; the AUROC compares the states of other episodes with those under a shift: noise on
observations, lost observations, and a heavier, longer pole. One file per agent and seed; what is there is not measured again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from measured import commit, measured, train_or_resume
from seqel.agents.agent import Agent
from seqel.agents.artifact import weights_checksum
from seqel.evaluation.comparison import (
    aggregate_interval,
    aggregate_iqm,
    improvement_interval,
    probability_of_improvement,
)
from seqel.robustness import StateReference, auroc, perturbation_curve, play_states
from seqel.robustness.leaves import leaf_scales
from seqel.robustness.perturbation import perturbed
from seqel.robustness.registry import PERTURBATIONS

RESULTS = Path(__file__).parent / "results" / "robustness"
ENV = "CartPole-v1"
AGENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "robust": {
        "learner.observation_noise": 0.1, "network.step_dropout": 0.1, "objective.robust_weight": 0.3,
        "objective.robust_epsilon": 0.05,
    },
}  # fmt: skip
BASE: dict[str, Any] = {
    "network.width": 32, "network.heads": 2, "network.layers": 1, "network.context": 16, "threads": 1, "device": "cpu",
    "environments": 8, "validation.every": 2_000, "validation.episodes": 20, "checkpoint_every": 60, "learner.compile": "off",
}  # fmt: skip
CURVES: dict[str, list[float]] = {
    "noise": [0.0, 0.05, 0.1, 0.2, 0.4], "drop": [0.0, 0.1, 0.25, 0.5], "delay": [0.0, 1.0, 2.0, 4.0],
    "repeat": [0.0, 0.1, 0.25, 0.5], "fgsm": [0.0, 0.02, 0.05, 0.1], "pgd": [0.0, 0.02, 0.05, 0.1],
}  # fmt: skip
DETECTORS = ("mahalanobis", "knn", "softmax")
FIRST = 500_000  # seeds of the episodes that detectors are fitted on begin here, those of the shifts 10,000 later


def long_pole() -> gym.Env[Any, Any]:
    """CartPole with a pole of twice the length and three times the mass."""
    env = gym.make(ENV)
    cart: Any = env.unwrapped
    cart.length, cart.masspole = 1.0, 0.3
    cart.total_mass, cart.polemass_length = cart.masspole + cart.masscart, cart.masspole * cart.length
    return env


def shifts(agent: Agent) -> dict[str, Callable[[], gym.Env[Any, Any]]]:
    """The environments under a shift."""
    scales, make = list(leaf_scales(agent.network).values()), partial(gym.make, ENV)
    return {
        "noise 0.2": perturbed(make, PERTURBATIONS["noise"], 0.2, scales, seed=1),
        "lost 0.25": perturbed(make, PERTURBATIONS["drop"], 0.25, scales, seed=1),
        "long pole": long_pole,
    }


def familiarity(agent: Agent, episodes: int) -> dict[str, Any]:
    """The AUROC of each detector on each shift, and the share of states above its threshold."""
    known = play_states(agent, ENV, episodes, FIRST)
    reference = StateReference.fit(known, weights_checksum(agent.network), false_alarms=0.01)
    calm = play_states(agent, ENV, episodes, FIRST + 10_000)
    familiar = reference.scores(calm.states, calm.scores)
    found: dict[str, Any] = {"false alarms": _above(reference, familiar)}
    for name, make in shifts(agent).items():
        played = play_states(agent, make, episodes, FIRST + 10_000)
        scores = reference.scores(played.states, played.scores)
        found[name] = {
            "auroc": {detector: auroc(familiar[detector], scores[detector]) for detector in DETECTORS},
            "above": _above(reference, scores), "return": float(played.returns.mean()),
        }  # fmt: skip
    return found


def _above(reference: StateReference, scores: dict[str, Any]) -> dict[str, float]:
    return {name: float((scores[name] > reference.thresholds[name]).mean()) for name in DETECTORS}


def measure(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train an agent, or continue, and measure it."""
    folder = Path(arguments.runs) / f"{name}-{seed}-{arguments.steps}"
    agent = train_or_resume(folder, ENV, steps=arguments.steps, seed=seed, settings=BASE | AGENTS[name])
    curves = {}
    for kind, strengths in CURVES.items():
        chosen = [strengths[0], strengths[-1]] if arguments.tiny else strengths
        curve = perturbation_curve(agent, ENV, kind, chosen, arguments.episodes)
        curves[kind] = {
            "strengths": chosen, "returns": [one.mean for one in curve.evaluations],
            "intervals": [list(one.interval) for one in curve.evaluations],
            "area": curve.area, "area_interval": list(curve.area_interval),
        }  # fmt: skip
        print(f"{name} {seed} {kind}: {curve.area:.1f}", flush=True)
    return {
        "agent": name, "seed": seed, "steps": arguments.steps, "episodes": arguments.episodes, "commit": commit(),
        "settings": BASE | AGENTS[name], "curves": curves, "familiarity": familiarity(agent, arguments.episodes),
    }  # fmt: skip


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the areas by agent, the probability that robust training improves them, and the AUROC."""
    for kind in CURVES:
        areas = {name: [one["curves"][kind]["area"] for one in some] for name, some in found.items() if some}
        parts = [
            f"{name} {aggregate_iqm([values]):.1f}{_within(aggregate_interval([values]))}"
            for name, values in areas.items()
        ]
        if len(areas) == 2:
            both = [areas["robust"]], [areas["plain"]]
            chance = f"{probability_of_improvement(*both):.2f}{_within(improvement_interval(*both))}"
            parts.append(f"P(robust is better) {chance}")
        print(f"{kind:10} area under the curve: {', '.join(parts)}")
    for name, some in found.items():
        for shift in some[0]["familiarity"] if some else ():
            if shift == "false alarms":
                continue
            means = {one: np.mean([run["familiarity"][shift]["auroc"][one] for run in some]) for one in DETECTORS}
            print(f"{name:8} {shift:10} AUROC: {', '.join(f'{one} {mean:.3f}' for one, mean in means.items())}")


def _within(interval: tuple[float, float]) -> str:
    return " (one seed)" if math.isnan(interval[0]) else f" ({interval[0]:.2f} to {interval[1]:.2f})"


def main() -> None:
    """Measure what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument(
        "--tiny", action="store_true", help="two strengths per curve; results go into a folder of their own"
    )
    parser.add_argument("--runs", default="runs/robustness", help="where the trainings lie")
    parser.add_argument("--only-read", action="store_true")
    arguments = parser.parse_args()
    place = RESULTS / "tiny" if arguments.tiny else RESULTS
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.agents}
    for seed in arguments.seeds:
        for name in arguments.agents:
            one = measured(place / f"{name}-{seed}.json", arguments.only_read, partial(measure, name, seed, arguments))
            if one is not None:
                found[name].append(one)
    report(found)


if __name__ == "__main__":
    main()
