"""Visits in which items were shown with known probabilities, to learn from and to estimate what other rankers would earn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.recommend.environment import Recommend
from seqel.tasks.recommend.factors import Factors
from seqel.tasks.recommend.users import HIGHEST, LOWEST, Users
from seqel.types import Episode

__all__ = ["record_visits", "shown_next"]

AT_ONCE = 1_000  # visits


def record_visits(
    env: Recommend, visits: int, seed: int = 0, sharpness: float = 1.5, random: float = 0.1
) -> tuple[InMemoryDataset, float]:
    """Let the users of an environment visit, and return the episodes and their mean return.

    An item that was not yet shown in the visit is drawn with a probability proportional to exp(sharpness * popularity), and
    with probability `random` uniformly: most shops begin so. The probabilities of the actions are recorded; the masks of
    items that were not yet shown as well, if the environment forbids repeats.

    Raises ConfigError if `visits` is below 2 (one is held out from training), `sharpness` is negative, or `random` is not
    from 0 to 1.
    """
    if visits < 2 or sharpness < 0.0 or not 0.0 <= random <= 1.0:
        raise ConfigError(
            "expected at least 2 visits, a sharpness of at least 0 and a random share from 0 to 1, got "
            f"{visits}, {sharpness} and {random}"
        )
    rng = np.random.default_rng((seed, 47))
    episodes: list[Episode] = []
    for start in range(0, visits, AT_ONCE):
        episodes += _together(env, min(AT_ONCE, visits - start), rng, sharpness, random)
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    mean = float(np.mean([one.reward.sum() for one in episodes]))
    return InMemoryDataset.of(episodes, spec, action), mean


def _together(env: Recommend, visits: int, rng: np.random.Generator, sharpness: float, random: float) -> list[Episode]:
    """Play visits side by side: each step is computed for all users that are still there."""
    factors, behaviour = env.factors, env.behaviour
    users = Users.arriving(factors.users[rng.choice(env.users, visits)], len(factors.items))
    there = np.arange(visits)  # the visits that continue
    item = np.zeros((visits, env.steps), np.int64)
    chance, rating = np.zeros((visits, env.steps)), np.zeros((visits, env.steps))
    length, left = np.zeros(visits, np.int64), np.zeros(visits, np.bool_)
    for step in range(env.steps):
        rows = np.arange(len(there))
        probability = shown_next(~users.shown, factors, sharpness, random)
        shown = (probability.cumsum(axis=1) > rng.random((len(there), 1))).argmax(axis=1)
        takes = users.takes(factors, behaviour)[rows, shown]
        felt = users.ratings(factors)[rows, shown] + behaviour.noise * rng.standard_normal(len(there))
        taken, stars = (rng.random(len(there)) < takes).astype(float), np.clip(np.round(felt), LOWEST, HIGHEST)
        item[there, step], chance[there, step] = shown, probability[rows, shown]
        rating[there, step] = taken * stars
        length[there] = step + 1
        users = users.after(shown, taken, stars, factors, behaviour, rng.standard_normal(users.taste.shape))
        leaves = rng.random(len(there)) < users.leave(behaviour)
        left[there[leaves]] = True
        users, there = users.subset(~leaves), there[~leaves]
        if not len(there):
            break
    spec = ObservationSpec.from_space(env.observation_space)
    return [
        _episode(env, spec, item[one, :steps], rating[one, :steps], chance[one, :steps], bool(left[one]))
        for one, steps in enumerate(length)
    ]


def shown_next(new: NDArray[np.bool_], factors: Factors, sharpness: float, random: float) -> NDArray[np.float64]:
    """Return the probability that each item is shown next, where `new` items were not shown yet; (N, A) each."""
    weight = np.exp(sharpness * (factors.popularity - factors.popularity.max())) * new
    popular, any_of = (one / one.sum(axis=1, keepdims=True) for one in (weight, new))
    found: NDArray[np.float64] = (1.0 - random) * popular + random * any_of
    return found


def _episode(
    env: Recommend,
    spec: ObservationSpec,
    item: NDArray[np.int64],
    rating: NDArray[np.float64],
    chance: NDArray[np.float64],
    left: bool,
) -> Episode:
    mask = None
    if not env.repeats:
        mask = np.ones((len(item) + 1, len(env.factors.items)), np.bool_)
        for step, one in enumerate(item):
            mask[step + 1 :, one] = False
    seen = np.concatenate(([0.0], rating / HIGHEST)).astype(np.float32)[:, None]
    return Episode(
        dict(spec.flatten(seen, len(seen))),
        item[:, None],
        (rating > 0.0).astype(np.float32),
        terminated=left,
        truncated=not left,
        action_mask=mask,
        behaviour_prob=chance.astype(np.float32),
    )
