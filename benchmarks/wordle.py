"""Wordle from recorded games: offline Q-learning against cloning, on secrets that were seen and on secrets that were not.

    python benchmarks/wordle.py [--observe knowledge] [--data 0.25 0.5] [--method NAME ...] [--seeds 0 1 2 3 4] [--table]

The games are played by a mixture: with probability `--data` a guess agrees with all marks so far, else it is any answer.
Secrets are drawn from four fifths of the answers. Every method gets the same games, network and number of updates, and the
same mask, which allows the letters that continue an answer. `--observe knowledge` shows in each observation what all marks
say together; `guess` shows the last guess alone, so that the earlier have to be remembered. Every secret is then played once,
greedily. The last methods play as a share of the games do, and add the values of all games to the logits of that policy; how
much they count is chosen on secrets of training. Each finished run is a JSON file in benchmarks/results/wordle/ and is not
run again, and an interrupted training continues. `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqel
from measured import commit, measured, train_or_resume
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.wordle import Mask, Observe, Secrets, Wordle, codes_of, feedback, play_games, split_secrets, word_list
from seqel.tasks.wordle.marks import UNMARKED, Knowledge, observed
from seqel.types import Episode

RESULTS = Path(__file__).parent / "results" / "wordle"
NETWORK: dict[str, Any] = {
    "network.width": 128, "network.layers": 3, "network.context": 31, "objective.discount": 1.0,
    "threads": 1, "device": "cpu",
}  # fmt: skip
# A policy that plays as recorded, beside values that are learned without changing it. The policy decides; its logits plus
# `network.value_weight` times the values of the letters.
POLICY: dict[str, Any] = {"network.policy_head": "greedy", "network.state_value": True}
BESIDE: dict[str, Any] = POLICY | {
    "objective.cloning_weight": 0.0, "objective.distillation_weight": 4.0, "objective.td_weight": 1.0,
    "objective.iql_expectile": 0.7,
}  # fmt: skip
WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True)
class Method:
    """How an agent learns from recorded games."""

    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0  # of the games, the best ones, that it learns from
    start: str | None = None  # the method whose agent it starts from


def beside(policy: str, share: float) -> dict[str, Method]:
    """Return a policy that is cloned from a share of the games, and the same with values of all games."""
    return {
        policy: Method("behaviour-cloning", POLICY, share),
        f"{policy}, values of all": Method("behaviour-cloning", BESIDE, start=policy),
    }


MILD: dict[str, Any] = {"objective.awr_beta": 1.0, "objective.iql_expectile": 0.7}
METHODS = {
    "cloning": Method("behaviour-cloning"),
    "cloning of the best 30 %": Method("behaviour-cloning", share=0.3),
    "Monte Carlo Q": Method("offline-cql", {"objective.cql_alpha": 0.0, "objective.lambda_": 1.0}),
    "CQL": Method("offline-cql"),
    "IQL": Method("offline-iql"),
    "IQL, mild weights": Method("offline-iql", MILD),
    "IQL of the best 30 %": Method("offline-iql", MILD, 0.3),
    "BCQ": Method("offline-bcq"),
    "BCQ of the best 30 %": Method("offline-bcq", share=0.3),
    "BCQ, dueling": Method("offline-bcq", {"network.dueling": True, "objective.td_weight": 5.0}),
    "SQN": Method("supervised-q"),
    **beside("policy of the best 30 %", 0.3),
    **beside("policy of the best 60 %", 0.6),
    **beside("policy of all games", 1.0),
}


def played(env: Wordle, game: list[str], secret: str) -> tuple[dict[str, Any], list[Any], list[float]]:
    """Return the observations, the action masks and the rewards of a game that is played in the environment."""
    observation, info = env.reset(options={"secret": secret})
    seen, masks, rewards = [observation], [info["action_mask"]], []
    for letter in codes_of(game).reshape(-1):
        observation, reward, _, _, info = env.step(letter)
        seen.append(observation)
        masks.append(info["action_mask"])
        rewards.append(reward)
    return {name: np.stack([one[name] for one in seen]) for name in seen[0]}, masks, rewards


def computed(env: Wordle, game: list[str], secret: str) -> tuple[dict[str, Any], list[Any], list[float]]:
    """Return what `played` returns, without a step of the environment."""
    codes = codes_of(game)
    count, length = codes.shape
    marks = feedback(codes, codes_of([secret])[0])
    steps = np.arange(count * length + 1)
    guess, place = steps // length, steps % length
    written = np.arange(length) < place[:, None]
    before = (place == 0) & (guess > 0)  # between two guesses: the letters and marks of the one before
    whole = observed(codes, marks)[np.maximum(guess - 1, 0)]
    part = observed(codes, UNMARKED)[np.minimum(guess, count - 1)]
    seen = {"letters": np.where(before[:, None], whole, np.where(written, part, 0)), "place": place, "guess": guess}
    if env.observe == "knowledge":
        seen["knowledge"] = described(codes, marks)
    return (
        seen,
        [env.allowed(codes[min(g, count - 1)][:p]) for g, p in zip(guess.tolist(), place.tolist(), strict=True)],
        [-1.0 if p == length - 1 and game[g] != secret else 0.0 for g, p in zip(guess[:-1], place[:-1], strict=True)],
    )


def described(codes: NDArray[np.int64], marks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return what is known at each step of a game of (G, 5) letters with their marks, (5 G + 1, 182)."""
    known, found = Knowledge(codes.shape[1]), []
    for word, mark in zip(codes, marks, strict=True):
        found += [known.describe(word[:place]) for place in range(len(word))]
        known.add(word, mark)
    return np.stack([*found, known.describe(codes[0, :0])])


def episodes(games: list[list[str]], secrets: list[str], observe: Observe) -> list[Episode]:
    """Return games as episodes. The first twenty are compared with the environment."""
    env = Wordle(secrets="all", observe=observe)
    spec = ObservationSpec.from_space(env.observation_space)
    found = []
    for number, (game, secret) in enumerate(zip(games, secrets, strict=True)):
        seen, masks, rewards = computed(env, game, secret)
        if number < 20:
            for one, other in zip(played(env, game, secret), (seen, masks, rewards), strict=True):
                np.testing.assert_equal(one, other)
        letters = codes_of(game).reshape(-1, 1)
        observation = dict(spec.flatten(seen, len(masks)))
        mask = np.stack(masks)
        found.append(Episode(observation, letters, np.array(rewards, np.float32), terminated=True, action_mask=mask))
    return found


@lru_cache(maxsize=1)  # methods share the games of a seed
def record(games: int, consistent: float, seed: int, observe: Observe) -> list[Episode]:
    """Return recorded games on the secrets of training."""
    rng = np.random.default_rng((seed, 2_000))
    answers = word_list("answers")
    known = split_secrets(answers, "train")
    secrets = [known[number] for number in rng.integers(len(known), size=games)]
    return episodes(play_games(answers, secrets, rng, consistent=consistent), secrets, observe)


class EachSecret(Wordle):
    """Episode n, which is reset with the seed n, has the n-th secret: so that a set of secrets is played exactly once."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        code = self.secrets[(seed or 0) % len(self.secrets)]
        return super().reset(seed=seed, options={"secret": "".join(chr(ord("a") + letter) for letter in code)})


def scores(agent: seqel.Agent, secrets: Secrets, mask: Mask = "words", observe: Observe = "guess") -> dict[str, Any]:
    """Play each secret once, greedily. Return the share of games won, with its 95 % interval, and their mean guesses."""
    count = len(EachSecret(secrets=secrets).secrets)
    found = seqel.evaluate(agent, lambda: EachSecret(secrets=secrets, mask=mask, observe=observe), count)
    assert found.successes is not None
    guesses = [1.0 - value for value, won in zip(found.returns, found.successes, strict=True) if won]
    return {
        "won": found.success, "interval": found.success_interval, "guesses": float(np.mean(guesses)) if guesses else 0.0,
        "games": count,
    }  # fmt: skip


def both(agent: seqel.Agent, mask: Mask = "words", observe: Observe = "guess") -> dict[str, Any]:
    """Return the scores on secrets of training, and on secrets that were held out."""
    return {
        "seen": scores(agent, "train", mask, observe),
        "held_out": scores(agent, "held-out", mask, observe),
    }


def learned(
    method: str, consistent: float, seed: int, games: int, updates: int, observe: Observe
) -> tuple[seqel.Agent, float]:
    """Train an agent, or load it if it is trained. Return it with the seconds that this took."""
    chosen, recorded = METHODS[method], record(games, consistent, seed, observe)
    before, start = 0.0, None
    if chosen.start is not None:
        _, before = learned(chosen.start, consistent, seed, games, updates, observe)
        start = folder_of(chosen.start, consistent, seed, games, observe) / "agent"
    if chosen.share < 1.0:
        order = sorted(range(len(recorded)), key=lambda place: -float(recorded[place].reward.sum()))
        recorded = [recorded[place] for place in order[: int(chosen.share * len(recorded))]]
    env = Wordle(observe=observe)
    data = InMemoryDataset.of(
        recorded, ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    )

    def show(record: Any) -> None:
        if record.validation is not None:
            print(
                f"{method}: {record.updates:,} updates {record.seconds:.0f} s {record.validation.mean:.3f}",
                file=sys.stderr,
            )

    began, folder = time.perf_counter(), folder_of(method, consistent, seed, games, observe)
    agent = train_or_resume(
        folder, data=data, steps=updates, seed=seed, preset=chosen.preset, settings=NETWORK | chosen.settings,
        init_from=start, progress=show,
    )  # fmt: skip
    return agent, before + time.perf_counter() - began


def name_of(method: str, consistent: float, seed: int, games: int, observe: Observe) -> str:
    short = "".join(letter for letter in method if letter.isalnum())
    return f"{short}-{observe}-{consistent}-{games}-seed{seed}"


def folder_of(*run: Any) -> Path:
    return Path(__file__).parent.parent / "runs" / f"wordle-{name_of(*run)}"


def run(method: str, consistent: float, seed: int, games: int, updates: int, observe: Observe) -> dict[str, Any]:
    agent, seconds = learned(method, consistent, seed, games, updates, observe)
    if METHODS[method].start is None:
        weights: dict[str, Any] = {}
        played_all = both(agent, observe=observe)
    else:  # how much the values count is chosen on secrets of training
        tried: dict[float, dict[str, Any]] = {}
        for weight in WEIGHTS:
            agent.set_value_weight(weight)
            tried[weight] = both(agent, observe=observe)
        best = max(tried, key=lambda one: (tried[one]["seen"]["won"], -tried[one]["seen"]["guesses"]))
        agent.set_value_weight(best)
        weights = {str(one): found for one, found in tried.items()} | {"chosen": best}
        played_all = tried[best]
    return {
        "method": method, "data": consistent, "seed": seed, "games": games, "updates": updates, "commit": commit(),
        "seconds": seconds, "observe": observe, "weights": weights, "consistent": both(agent, "consistent", observe),
        **played_all,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=float, default=[0.25, 0.5])
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--games", type=int, default=200_000)
    parser.add_argument("--updates", type=int, default=5_000)
    parser.add_argument("--observe", choices=("guess", "knowledge"), default="knowledge")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        "| data | method | seed | won, seen secrets | guesses | won, held-out | guesses | the same, if the mask allows "
        "only words that agree with all marks: won, seen | guesses | won, held-out | guesses |\n" + "|---" * 11 + "|"
    )
    for seed in given.seeds:
        for data in given.data:
            for method in given.method:
                path = RESULTS / f"{name_of(method, data, seed, given.games, given.observe)}.json"
                found = measured(
                    path, given.table, partial(run, method, data, seed, given.games, given.updates, given.observe)
                )
                if found is not None:
                    figures = [
                        f"{one['won']:.1%} | {one['guesses']:.2f}"
                        for part in (found, found["consistent"])
                        for one in (part["seen"], part["held_out"])
                    ]
                    print(f"| {data} | {method} | {seed} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
