"""The tasks of `robustness.py`: environments, settings of the plain and of the robust agent, perturbations, and shifts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from seqel.agents.agent import Agent
from seqel.environments.resolve import EnvMaker, resolve
from seqel.robustness.leaves import leaf_scales
from seqel.robustness.perturbation import perturbed
from seqel.robustness.registry import PERTURBATIONS
from seqel.tasks.customers.utterances import Split, Utterances, read_banking77

__all__ = ["TASKS", "RobustTask", "Routing"]

BASE: dict[str, Any] = {
    "threads": 1, "device": "cpu", "vectorization": "sync", "environments": 8, "checkpoint_every": 60,
    "learner.compile": "off", "validation.every": 2_000,
}  # fmt: skip


@dataclass(frozen=True)
class RobustTask:
    """What is trained on, and how robustness is measured there."""

    make: Callable[[], EnvMaker]  # for training
    test: Callable[[], EnvMaker]  # for the curves
    shifted: Callable[[], EnvMaker]  # a world that has changed
    shift: str  # its name
    steps: int
    episodes: int  # per strength
    settings: Mapping[str, Any]
    agents: Mapping[str, Mapping[str, Any]]  # what each trained for robustness has in addition
    curves: Mapping[str, Sequence[float]]
    sensors: Mapping[str, float]  # two more shifts

    def shifts(self, agent: Agent) -> dict[str, EnvMaker]:
        """Return the environments under each shift."""
        scales = list(leaf_scales(agent.network).values())
        found = {
            f"{kind} {strength:g}": perturbed(self.test(), PERTURBATIONS[kind], strength, scales, seed=1)
            for kind, strength in self.sensors.items()
        }
        return found | {self.shift: self.shifted()}


class Routing(gym.Env[dict[str, Any], np.int64]):
    """A customer says `turns` sentences about one intent, which is hidden. After each, the agent names the intent.

    The reward of a step is 1 / `turns` for the right intent and 0 for another, so the return is the share of right answers.
    Sentences are drawn at random, so that an agent with a memory gathers evidence.
    """

    metadata: dict[str, Any] = {"render_modes": [], "seqel": {"discount": 0.0, "context": 4}}  # noqa: RUF012

    def __init__(self, data: Utterances, intents: Sequence[int], split: Split = "train", turns: int = 4) -> None:
        self.sentences = [data.by_intent[split][one] for one in intents]
        self.turns, self.intent, self.turn = turns, 0, 0
        self.observation_space = spaces.Dict({"said": spaces.Text(500, min_length=0, charset=data.characters)})
        self.action_space = spaces.Discrete(len(intents))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.intent, self.turn = int(self.np_random.integers(len(self.sentences))), 0
        return self._say(), {}

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.intent) / self.turns
        self.turn += 1
        return self._say(), reward, self.turn == self.turns, False, {}

    def _say(self) -> dict[str, str]:
        some = self.sentences[self.intent]
        return {"said": some[int(self.np_random.integers(len(some)))]}


def routing(split: Split = "train", first: int = 0) -> EnvMaker:
    """Every fourth of the 77 intents of Banking77, 19 of them, beginning with `first`."""
    data = read_banking77(Path(os.environ["SEQEL_DATA"]) / "banking77")
    return partial(Routing, data, range(first, 76, 4), split)


TASKS = {
    # what is remembered is one observation, and all later ones can disturb it or the moment to act on it
    "tmaze": RobustTask(
        make=partial(resolve, "seqel/TMaze20-v0"), test=partial(resolve, "seqel/TMaze20-v0"),
        shifted=partial(resolve, "seqel/TMaze-v0", length=30), shift="longer corridor", steps=24_000, episodes=200,
        settings=BASE | {"network.context": 21, "validation.episodes": 100},
        agents={
            "robust": {"perturb": ("noise:0.4", "drop:0.5", "delay:2", "repeat:0.5")},
            "hinge": {
                "objective.robust_weight": 0.3, "objective.robust_epsilon": 0.4, "objective.robust_margin": 0.2,
            },
        },
        curves={
            "noise": [0.0, 0.1, 0.2, 0.4], "drop": [0.0, 0.25, 0.5], "delay": [0.0, 1.0, 2.0], "repeat": [0.0, 0.25, 0.5],
            "fgsm": [0.0, 0.1, 0.2, 0.4], "pgd": [0.0, 0.2, 0.4],
        },
        sensors={"noise": 0.2, "drop": 0.25},
    ),
    # as the T-Maze, with pictures: a colour among noise
    "recall": RobustTask(
        make=partial(resolve, "seqel/RecallColour-v0"), test=partial(resolve, "seqel/RecallColour-v0"),
        shifted=partial(resolve, "seqel/RecallColour-v0", delay=27), shift="longer delay", steps=24_000, episodes=200,
        settings=BASE | {"network.context": 20, "validation.episodes": 100},
        agents={"robust": {"perturb": ("noise:0.4", "drop:0.5", "delay:2", "repeat:0.5", "occlusion:0.5")}},
        curves={
            "noise": [0.0, 0.1, 0.2, 0.4], "occlusion": [0.0, 0.25, 0.5], "drop": [0.0, 0.25, 0.5],
            "delay": [0.0, 1.0, 2.0], "repeat": [0.0, 0.25, 0.5], "fgsm": [0.0, 0.02, 0.05, 0.1],
            "pgd": [0.0, 0.05, 0.1],
        },
        sensors={"noise": 0.2, "drop": 0.25},
    ),
    "routing": RobustTask(
        make=routing, test=partial(routing, "test"), shifted=partial(routing, "test", 2), shift="unknown intents",
        steps=60_000, episodes=500,
        settings=BASE | {"network.context": 4, "validation.every": 4_000, "validation.episodes": 200},
        agents={"robust": {"perturb": ("typos:0.2", "words:0.4", "drop:0.5")}},
        curves={
            "typos": [0.0, 0.05, 0.1, 0.2], "words": [0.0, 0.2, 0.4], "synonyms": [0.0, 0.5, 1.0], "drop": [0.0, 0.25, 0.5],
        },
        sensors={"typos": 0.2, "words": 0.4},
    ),
}  # fmt: skip
