"""Do Q-values predict returns? Slope, intercept and error of the values of trained agents on fresh episodes.

    python benchmarks/q_calibration.py RUN... [--episodes 500] [--seed 30000]
    python benchmarks/q_calibration.py --table

RUN is the folder of a run in an environment, such as those of `benchmarks/faithfulness.py`; it is only read. Predicted is the
value of each action that is taken, realised the discounted return from there to the end of the episode
(`seqel.reports.calibrate`). Intervals are 95 %, bootstrap over episodes.

greedy    every step of greedy episodes. Where all of them earn the same, returns do not vary, and the slope says nothing
random    one action of each episode is uniformly random, at a random step, and the others are greedy; that step and those
          after it count. So this is also about actions that the agent would not take

One JSON file per run in benchmarks/results/q-calibration/, named by the run's folder.
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measured import commit, measured
from seqel.agents.agent import Agent, AgentState
from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.vector import StepResult
from seqel.evaluation.recording import PlayedEpisodes, play_recorded
from seqel.evaluation.rollout import LONGEST, play
from seqel.reports.calibration import Calibration, calibrate
from seqel.reports.figures import finite
from seqel.runs.run_config import read_run_config
from seqel.types import Decision, QOutput

RESULTS = Path(__file__).parent / "results" / "q-calibration"
ENVIRONMENTS = 32


class OneRandomAction(Agent):
    """Takes one random allowed action per episode, at a step drawn from those of a greedy episode; greedy otherwise."""

    def __init__(self, agent: Agent, lengths: NDArray[np.int64], seed: int) -> None:
        super().__init__(agent.network, agent.info)
        self.lengths, self.rng = lengths, np.random.default_rng(seed)
        self.values = np.zeros((0, 0, 0), np.float32)  # (R, M, A) of the latest step
        self.step = self.chosen = np.zeros(0, np.int64)  # (R,) of each row's episode, and when its action is random

    def scores(self, out: QOutput, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        self.values = out.q.float().cpu().numpy()
        return super().scores(out, mask)

    def act(self, observation: Any, state: AgentState | None = None, **given: Any) -> tuple[Decision, AgentState]:
        decision, state = super().act(observation, state, **given)
        rows = len(decision.action)
        if len(self.step) != rows:
            self.step, self.chosen = np.zeros(rows, np.int64), self._draw(rows)
        else:
            first = given["first"]
            self.step = np.where(first, 0, self.step + 1)
            self.chosen = np.where(first, self._draw(rows), self.chosen)
        scores = decision.q.reshape(rows, self.action_spec.dims, -1)
        noise = np.where(np.isneginf(scores), -1.0, self.rng.random(scores.shape))
        drawn = noise.argmax(axis=-1)  # (R, M)
        state.last_action = np.where((self.step == self.chosen)[:, None], drawn, state.last_action)
        action = state.last_action + np.asarray(self.action_spec.start)
        return dataclasses.replace(decision, action=action.reshape(decision.action.shape)), state

    def _draw(self, rows: int) -> NDArray[np.int64]:
        return self.rng.integers(self.rng.choice(self.lengths, rows))


def play_from_random_action(agent: Agent, make: EnvMaker, greedy: PlayedEpisodes, seed: int) -> PlayedEpisodes:
    """Play as many episodes as there are greedy ones, and return each from its random action on."""
    episodes = len(greedy.lengths)
    acting = OneRandomAction(agent, greedy.lengths, seed)
    parts: list[list[tuple[float, float]]] = [[] for _ in range(episodes)]
    terminated = np.zeros(episodes, bool)

    def watch(rows: NDArray[np.int64], decision: Decision, outcome: StepResult) -> None:
        action = (decision.action - agent.action_spec.offset).reshape(len(rows), -1)
        value = np.take_along_axis(acting.values, action[..., None], axis=-1)[..., 0].mean(axis=1)
        for row in np.flatnonzero(rows >= 0).tolist():
            terminated[rows[row]] = outcome.terminated[row]
            if acting.step[row] >= acting.chosen[row]:
                parts[int(rows[row])].append((float(value[row]), float(outcome.reward[row])))

    play(acting, make, episodes, seed, min(ENVIRONMENTS, episodes), None, LONGEST, watch)
    kept = [number for number, part in enumerate(parts) if part]  # the others ended before their random action
    every = np.array([step for number in kept for step in parts[number]])
    return PlayedEpisodes(
        every[:, 0].astype(np.float32), every[:, 1], np.zeros((len(every), 1), np.int64),
        np.array([len(parts[number]) for number in kept]), terminated[kept], np.full(len(kept), np.nan), seed,
    )  # fmt: skip


def measure(folder: Path, episodes: int, seed: int) -> dict[str, Any]:
    config = read_run_config(folder, trust=True)
    agent = Agent.load(folder)
    discount, make = float(agent.info["discount"]), resolve(config.env, **config.env_args)
    greedy = play_recorded(agent, make, episodes, seed)
    random = play_from_random_action(agent, make, greedy, seed + episodes)
    evaluation = greedy.evaluation()
    figures: dict[str, Any] = finite({
        "env": config.env, "env_args": config.env_args, "seed_of_run": config.seed, "steps": config.steps,
        "episodes": episodes, "seed": seed, "discount": discount, "return": evaluation.mean, "interval": evaluation.interval,
        "success": evaluation.success, "greedy": _figures(calibrate(greedy, discount)),
        "random": _figures(calibrate(random, discount)), "commit": commit(),
    })  # fmt: skip
    return figures


def _figures(found: Calibration | None) -> dict[str, Any] | None:
    return None if found is None else dataclasses.asdict(found)


def row(name: str, found: dict[str, Any], which: str) -> str:
    """Return a line of the table."""
    line = found[which]
    start = f"| {name} | {found['return']:.3f} | {which} |"
    if line is None:
        return f"{start} no step whose return is known |"
    cells = [_within(line[what], line[f"{what}_interval"]) for what in ("slope", "intercept", "bias", "error")]
    correlation = "-" if line["correlation"] is None else f"{line['correlation']:.3f}"
    return f"{start} {' | '.join(cells)} | {line['rmse']:.3f} | {correlation} |"


def _within(value: float | None, interval: list[float | None]) -> str:
    if value is None or interval[0] is None:
        return "-" if value is None else f"{value:.3f}"
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=30_000, help="of the first episode")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    for folder in given.runs:
        path = RESULTS / f"{folder.resolve().name}.json"
        measured(path, given.table, partial(measure, folder, given.episodes, given.seed))
    columns = ("run", "return", "actions", "slope", "intercept", "predicted minus realised", "calibration error")
    print(f"| {' | '.join(columns)} | rmse | correlation |\n" + "|---" * 9 + "|")
    for path in sorted(RESULTS.glob("*.json")):
        found = measured(path, True, dict)
        assert found is not None
        for which in ("greedy", "random"):
            print(row(path.stem, found, which))


if __name__ == "__main__":
    main()
