"""Wordle: how the policy that behaviour cloning has learned plays if it is sampled, beside its most probable letters.

    python benchmarks/wordle_sampling.py runs/wordle-policyofallgames-knowledge-0.5-60000-seed0/agent [...]

Behaviour cloning estimates the policy that recorded the games. wordle.py plays the most probable letter of that estimate,
which is a better policy than the recorded one where right letters are more probable than wrong ones. The recorded policy is a
sample, so this script samples, from the same mask. Each agent of wordle.py becomes a JSON file in
benchmarks/results/wordle-sampling/.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from measured import commit, measured
from seqel.evaluation.statistics import success_interval
from seqel.tasks.wordle import Secrets, Wordle, split_secrets, word_list
from wordle import scores

RESULTS = Path(__file__).parent / "results" / "wordle-sampling"


def sampled(agent: seqel.Agent, secrets: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """Play one game for each secret, all at once, with sampled letters. Return what `wordle.scores` does for greedy ones."""
    games = [Wordle(secrets="all", observe="knowledge") for _ in secrets]
    begun = [game.reset(options={"secret": secret}) for game, secret in zip(games, secrets, strict=True)]
    seen, masks = [observation for observation, _ in begun], [info["action_mask"] for _, info in begun]
    count = len(games)
    state, rows = agent.initial_state(count), np.arange(count)
    letter, reward, guesses = np.zeros(count, np.int64), np.zeros(count, np.float32), np.ones(count)
    won, first = np.zeros(count, bool), np.ones(count, bool)
    while len(rows):
        decision, state = agent.act(
            {name: np.stack([seen[row][name] for row in rows]) for name in seen[0]}, state, reward=reward[rows],
            first=first[rows], previous_action=letter[rows], mask=np.stack([masks[row] for row in rows]), rows=rows,
        )  # fmt: skip
        logits = decision.q.astype(np.float64)  # log-probabilities; minus infinity where the mask forbids
        noise = rng.gumbel(size=logits.shape)  # with it, the argmax is a sample
        letter[rows], first[:], left = (logits + noise).argmax(axis=-1), False, []
        for row in rows:
            seen[row], reward[row], ended, _, info = games[row].step(letter[row])
            guesses[row] -= reward[row]
            if ended:
                won[row] = info["is_success"]
            else:
                masks[row] = info["action_mask"]
                left.append(row)
        rows = np.array(left, np.int64)
    return {
        "won": float(won.mean()), "interval": success_interval(int(won.sum()), count), "guesses": float(guesses[won].mean()),
        "games": count,
    }  # fmt: skip


def run(folder: Path, times: int) -> dict[str, Any]:
    agent = seqel.Agent.load(folder)
    config = agent.network.config
    if config.policy_head != "greedy" or config.value_weight:
        raise SystemExit(f"{folder}: expected an agent of a policy alone, as 'policy of all games' of wordle.py")
    found: dict[str, Any] = {"run": folder.parent.name, "commit": commit()}
    splits: tuple[Secrets, ...] = ("train", "held-out")
    for name in splits:
        secrets = split_secrets(word_list("answers"), name)
        found[name] = {
            "most_probable": scores(agent, name, observe="knowledge"),
            "sampled": sampled(agent, secrets * times, np.random.default_rng(0)),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=2, help="sampled games for each secret")
    given = parser.parse_args()
    print("| run | secrets | most probable letters: won | guesses | sampled: won | guesses |\n" + "|---" * 6 + "|")
    for folder in given.agent:
        found = measured(RESULTS / f"{folder.parent.name}.json", False, partial(run, folder, given.times))
        assert found is not None  # it measures what is not there
        for name in ("train", "held-out"):
            figures = [
                f"{one['won']:.1%} ({one['interval'][0]:.1%} to {one['interval'][1]:.1%}) | {one['guesses']:.2f}"
                for one in (found[name]["most_probable"], found[name]["sampled"])
            ]
            print(f"| {found['run']} | {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
