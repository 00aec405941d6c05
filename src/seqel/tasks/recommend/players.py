"""Players of `Recommend` that know the simulator: what can be reached, and what is reached without looking ahead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.recommend.environment import Recommend
from seqel.tasks.recommend.factors import Factors
from seqel.tasks.recommend.users import HIGHEST, LOWEST, NEUTRAL, Behaviour, Users

__all__ = ["best_rated", "most_taken", "planned", "popular", "visit"]

Player = Callable[[Recommend], int]


def popular(env: Recommend) -> int:
    """Return the most popular item of those not yet shown: for a user of whom nothing is known."""
    assert env.state is not None
    return int(np.where(env.state.shown[0], -np.inf, env.factors.popularity).argmax())


def most_taken(env: Recommend) -> int:
    """Return the item that this user is most likely to take now. Knows taste and boredom, and does not look ahead."""
    assert env.state is not None
    return int(env.state.takes(env.factors, env.behaviour)[0].argmax())


def best_rated(env: Recommend) -> int:
    """Return the item of those not yet shown that this user would rate highest. Knows taste."""
    assert env.state is not None
    return int(np.where(env.state.shown[0], -np.inf, env.state.ratings(env.factors)[0]).argmax())


def planned(env: Recommend, weights: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0), candidates: int = 10) -> int:
    """Return the item with the best outlook if one of some fixed rules decides from then on.

    A rule shows the item with the largest p (1 + weight * stars above neutral), where p is the probability that it is taken.
    Each rule's `candidates` best items are compared by what is earned on average in the rest of the visit, if the same rule
    decides from then on. Knows taste, boredom and satisfaction. Its return is a lower bound on that of the best player.
    """
    state, factors, behaviour = env.state, env.factors, env.behaviour
    assert state is not None
    value = [_rule(state, factors, behaviour, weight)[0] for weight in weights]
    first = np.concatenate([np.argsort(-one, kind="stable")[:candidates] for one in value])
    weight = np.repeat(weights, candidates)
    outlook = _outlook(_copies(state, len(first)), first, weight, factors, behaviour, env.steps - env.step_number)
    return int(first[outlook.argmax()])


def _rule(
    users: Users, factors: Factors, behaviour: Behaviour, weight: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    stars = np.clip(users.ratings(factors), LOWEST, HIGHEST) - NEUTRAL
    found: NDArray[np.float64] = users.takes(factors, behaviour) * (1.0 + weight * stars)
    return found


def _copies(state: Users, count: int) -> Users:
    return Users(
        state.taste.repeat(count, axis=0),
        state.boredom.repeat(count, axis=0),
        state.satisfaction.repeat(count),
        state.shown.repeat(count, axis=0),
    )


def _outlook(
    users: Users,
    item: NDArray[np.int64],
    weight: NDArray[np.float64],
    factors: Factors,
    behaviour: Behaviour,
    left: int,
) -> NDArray[np.float64]:
    """Return what is earned on average in the rest of a visit, if each user is shown an item and then follows a rule."""
    there, total, rows = np.ones(len(users)), np.zeros(len(users)), np.arange(len(users))
    for step in range(left):
        taken = users.takes(factors, behaviour)[rows, item]
        rating = np.clip(users.ratings(factors)[rows, item], LOWEST, HIGHEST)
        total += there * taken
        users = users.after(item, taken, rating, factors, behaviour)
        there = there * (1.0 - users.leave(behaviour))
        if step + 1 < left:
            item = _rule(users, factors, behaviour, weight[:, None]).argmax(axis=1)
    return total


def visit(env: Recommend, player: Player, seed: int) -> float:
    """Return what a player earns in one visit."""
    env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        _, reward, terminated, truncated, _ = env.step(player(env))
        total, over = total + reward, terminated or truncated
    return total
