"""The tables of what the one default learns: of the README, and of docs/benchmarks.md. `report.py` puts them there."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from one_default import BEST_OF_13, LEVELS
from report_recorded import read

__all__ = ["readme", "section"]

FOLDER, EARLIER = "one-default/default", "one-default/before-novelty"
WHAT = {
    "recall3": "Recall Colour, 3 colours",
    "recall8": "Recall Colour, 8 colours",
    "recall30": "Recall Colour, 30 colours",
    "tmaze100": "passive T-Maze, length 100",
    "tmaze250": "passive T-Maze, length 250",
    "cartpole-hidden": "`CartPole-v1` without velocities",
    "memory-s7": "`MiniGrid-MemoryS7-v0`",
    "memory-s11": "`MiniGrid-MemoryS11-v0`",
    "memory-s13": "`MiniGrid-MemoryS13-v0`",
    "repeat-previous-hard": "`popgym-RepeatPreviousHard-v0`",
    "autoencode-easy": "`popgym-AutoencodeEasy-v0`",
    "CountRecallEasy": "`popgym-CountRecallEasy-v0`",
}
# the tasks of the development list that are cells of POPGym's table
CELLS = {"RepeatPreviousHard": "repeat-previous-hard", "AutoencodeEasy": "autoencode-easy"}
README_ROWS = ("tmaze250", "memory-s7", "memory-s13", "cartpole-hidden", "repeat-previous-hard", "CountRecallEasy")
TEXT = """## What the default learns

Command: `python benchmarks/one_default.py --only TASK --seeds SEED`, one core per run, two runs at a time and other
programs beside them. A run ends when its threshold is confirmed in validation, or when its steps or its minutes are used
up (30 in most tasks). Then 100 (MiniGrid, Recall Colour: 200) fresh episodes are played with the best weights. How the
default was chosen, and what has not been measured: [One default](experiments.md#one-default)."""
POPGYM = """POPGym, one cell per game and difficulty: mean return of fresh episodes, one figure per seed, and the largest
mean return during training of the best of 13 models (Morad et al. 2023, PPO, 15 million steps). *: with the default before
novelty was added. An empty cell was not run to its end."""


def found(folder: str = FOLDER) -> dict[str, list[dict[str, Any]]]:
    """Return the finished runs by task, in the order of the seeds."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in read(folder):
        runs[one["task"]].append(one)
    return {task: sorted(some, key=lambda one: one["seed"]) for task, some in runs.items()}


def _row(what: str, runs: list[dict[str, Any]]) -> str:
    figures = [
        "; ".join(form(one) for one in runs)
        for form in (
            lambda one: f"{one['mean']:.3g}",
            lambda one: f"{one['steps']:,}",
            lambda one: f"{one['seconds']:.0f}",
        )
    ]
    return f"| {what} | {' | '.join(figures)} |"


def _table(tasks: tuple[str, ...]) -> str:
    runs = found()
    head = ["| task | mean return per seed | environment steps | training time, s |", "|---|---|---|---|"]
    return "\n".join(head + [_row(WHAT[task], runs[task]) for task in tasks if task in runs])


def readme() -> str:
    """Return the rows of the README."""
    return _table(README_ROWS)


def section() -> str:
    """Return the section of docs/benchmarks.md."""
    runs, earlier = found(), found(EARLIER)
    lines = [f"| game | {' | '.join(LEVELS)} | best of 13 models |", "|---|---|---|---|---|"]
    for game, best in BEST_OF_13.items():
        cells = []
        for level in LEVELS:
            name = f"{game}{level}"
            now, before = runs.get(CELLS.get(name, name), []), earlier.get(name, [])
            cells.append(
                "; ".join([f"{one['mean']:.3g}" for one in now] or [f"{one['mean']:.3g}\\*" for one in before])
            )
        lines.append(f"| {game} | {' | '.join(cells)} | {'; '.join(f'{value:g}' for value in best)} |")
    return "\n\n".join([TEXT, _table(tuple(WHAT)), POPGYM, "\n".join(lines)])
