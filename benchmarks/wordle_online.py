"""Wordle in the environment: Q-learning from nothing, or continued from recorded games, with either mask.

    python benchmarks/wordle_online.py [--mask none words consistent] [--init-from RUN/agent] [--steps 2000000] [--seeds 0]
        [--table]

With the mask "consistent" the agent may only guess words that agree with all marks, as the player that draws among them does,
which it is compared with: both then know the same words and the same rule. Secrets are drawn from four fifths of the answers.
With `--hide-held-out` the held-out words are not allowed in training, so that an agent cannot learn that they are never the
secret; the game that is scored allows them. `--init-from` continues an agent of wordle.py with a policy beside values: the
policy is kept by distillation while the values are learned from its own games, and exploration is small.
The table shows the weights that validation kept, and the result also those of the end: validations of weights that differ
by half a percent choose by chance. Each finished run is a JSON file in benchmarks/results/wordle-online/ and is not run
again; an interrupted one continues.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

import seqel
from measured import commit, measured, train_or_resume
from seqel.tasks.wordle import Mask, Observe, Wordle, play_games, split_secrets, word_list
from wordle import NETWORK, POLICY, both

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "wordle-online"
CONTINUED: dict[str, Any] = POLICY | {
    "network.value_weight": 4.0, "objective.distillation_weight": 1.0, "learner.learning_rate": 3e-4,
    "exploration.novelty": 0.0, "exploration.bonus": 0.0, "exploration.high": 0.05,
    # 1,836 secrets are few: with more updates per step, values learn which words are secrets (docs/experiments.md)
    "replay.replay_ratio": 8.0, "replay.batch_tokens": 1_300,
}  # fmt: skip


def show(record: Any) -> None:
    """Print a validation."""
    if record.validation is not None:
        found = record.validation
        print(
            f"{record.steps:,} steps {record.seconds:.0f} s: {found.mean:.3f}, won {found.success:.1%}",
            file=sys.stderr,
        )


def run(
    mask: Mask, observe: Observe, seed: int, given: argparse.Namespace, name: str, settings: dict[str, Any]
) -> dict[str, Any]:
    folder, began = HERE.parent / "runs" / name, time.perf_counter()
    make = partial(Wordle, mask=mask, observe=observe, penalty=given.penalty)
    if given.hide_held_out:
        make = partial(make, secrets="all", answers=split_secrets(word_list("answers"), "train"))
    start, steps = given.init_from, given.steps
    settings = (CONTINUED if start else {}) | settings
    agent = train_or_resume(
        folder, make, steps=steps, seed=seed, settings=NETWORK | settings, init_from=start, progress=show
    )
    return {
        "mask": mask, "seed": seed, "steps": steps, "start": start and Path(start).parent.name,
        "settings": settings, "commit": commit(),
        "penalty": given.penalty, "hide_held_out": given.hide_held_out, "seconds": time.perf_counter() - began,
        "observe": observe,
        **both(agent, mask, observe),
        "last_weights": both(seqel.Agent.load(folder / "agent-last"), mask, observe),
    }  # fmt: skip


def players(seed: int) -> dict[str, dict[str, Any]]:
    """Return how the scripted players do on the held-out secrets, ten games each for the one that draws."""
    answers = word_list("answers")
    held = split_secrets(answers, "held-out")
    found = {}
    for name, times, entropy in (("draws among words that agree", 10, False), ("largest entropy", 1, True)):
        games = play_games(answers, held * times, np.random.default_rng(seed), entropy=entropy)
        won = [game[-1] == secret for game, secret in zip(games, held * times, strict=True)]
        guesses = [len(game) for game, win in zip(games, won, strict=True) if win]
        found[name] = {"won": float(np.mean(won)), "guesses": float(np.mean(guesses)), "games": len(games)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mask", nargs="+", choices=get_args(Mask), default=["words", "consistent"])
    parser.add_argument("--observe", choices=("guess", "knowledge"), default="knowledge")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--init-from", help="an agent of wordle.py with a policy beside values")
    parser.add_argument("--penalty", type=float, default=0.0, help="of a lost game in training")
    parser.add_argument("--hide-held-out", action="store_true", help="in training, held-out words are no words at all")
    parser.add_argument("--name", default="", help="added to the names of runs and results")
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING=VALUE", help="changes to the settings")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    settings = {key: json.loads(value) for key, _, value in (one.partition("=") for one in given.set)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not given.table:
        (RESULTS / "players.json").write_text(json.dumps(players(0), indent=1) + "\n")
    for name, one in json.loads((RESULTS / "players.json").read_text()).items():
        print(f"{name}: held-out secrets won {one['won']:.1%}, {one['guesses']:.2f} guesses")
    print(
        "| mask | start | steps | seed | won, seen secrets | guesses | won, held-out | guesses |\n" + "|---" * 8 + "|"
    )
    for mask in given.mask:
        for seed in given.seeds:
            name = (
                f"wordle-{mask}-{given.observe}-{'recorded' if given.init_from else 'nothing'}{given.name}-seed{seed}"
            )
            path = RESULTS / f"{name}.json"
            found = measured(path, given.table, partial(run, mask, given.observe, seed, given, name, settings))
            if found is not None:
                figures = [f"{one['won']:.1%} | {one['guesses']:.2f}" for one in (found["seen"], found["held_out"])]
                start = "recorded games" if found["start"] else "nothing"
                print(f"| {mask} | {start} | {found['steps']:,} | {seed} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
