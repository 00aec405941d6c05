"""The mean return that is possible in POPGym's games of chance, of players with and without memory.

    python benchmarks/popgym_bounds.py [--episodes 2000]

HigherLower: `counts cards` guesses the more probable side given all cards seen, which is optimal, because a guess does not
change the deck; `last card` only looks at the current one. MultiarmedBandit: `posterior mean` plays the arm with the largest
mean under a uniform prior; `upper bound` adds 1.5 standard deviations to it, a good player but not the optimal one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import popgym  # noqa: F401  # registers the environments

RANKS, SUITS = 13, 4
HIGHER, LOWER = 0, 1
LEVELS = ("Easy", "Medium", "Hard")

Player = Callable[[Any, int | None], int]  # observation, the last action -> action


def counts_cards(env: Any) -> Player:
    left = np.full(RANKS, env.unwrapped.deck_size // RANKS)

    def act(card: Any, last: int | None) -> int:
        left[card] -= 1
        return HIGHER if left[card + 1 :].sum() >= left[:card].sum() else LOWER

    return act


def last_card(env: Any) -> Player:
    return lambda card, last: HIGHER if card < (RANKS - 1) / 2 else LOWER


def bandit(deviations: float) -> Callable[[Any], Player]:
    """Return players of the mean plus `deviations` standard deviations of each arm's posterior."""

    def make(env: Any) -> Player:
        beta = np.ones((2, env.action_space.n))  # losses, wins

        def act(won: Any, last: int | None) -> int:
            if last is not None:
                beta[int(won), last] += 1
            total = beta.sum(axis=0)
            deviation = np.sqrt(beta[0] * beta[1] / (total**2 * (total + 1)))
            return int((beta[1] / total + deviations * deviation).argmax())

        return act

    return make


GAMES: dict[str, dict[str, Callable[[Any], Player]]] = {
    "HigherLower": {"counts cards": counts_cards, "last card": last_card},
    "MultiarmedBandit": {"upper bound": bandit(1.5), "posterior mean": bandit(0.0)},
}


def play(env: Any, make: Callable[[Any], Player], seed: int) -> float:
    observation, _ = env.reset(seed=seed)
    player, last, total, over = make(env), None, 0.0, False
    while not over:
        last = player(observation, last)
        observation, reward, terminated, truncated, _ = env.step(last)
        total += float(reward)
        over = terminated or truncated
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2_000)
    episodes = parser.parse_args().episodes
    for game, players in GAMES.items():
        for level in LEVELS:
            env = gym.make(f"popgym-{game}{level}-v0")
            for name, make in players.items():
                returns = np.array([play(env, make, 10_000 + n) for n in range(episodes)])
                error = 1.96 * returns.std() / np.sqrt(episodes)
                print(f"{game}{level:8} {name:16} {returns.mean():.3f} +- {error:.3f}", flush=True)


if __name__ == "__main__":
    main()
