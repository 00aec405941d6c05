"""Recorded visits: the same as visits of the environment in which items are shown with these probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.tasks.recommend import Factors, Recommend, fit_factors, record_visits

ITEMS = 30


@pytest.fixture(scope="module")
def factors() -> Factors:
    rng = np.random.default_rng(0)
    of_users, of_items = rng.normal(size=(60, 3)), rng.normal(size=(ITEMS, 3))
    user, item = np.nonzero(rng.random((60, ITEMS)) < np.linspace(0.2, 0.9, ITEMS))
    rating = 3.0 + (of_users[user] * of_items[item]).sum(axis=1)
    return fit_factors(user, item, rating, tuple(map(str, range(ITEMS))), rank=3, regularisation=0.1)


def probabilities(factors: Factors, shown: list[int], sharpness: float, random: float) -> Any:
    new = np.ones(ITEMS)
    new[shown] = 0.0
    weight = np.exp(sharpness * factors.popularity) * new
    return (1.0 - random) * weight / weight.sum() + random * new / new.sum()


def test_probabilities_are_those_of_the_rule(factors: Factors) -> None:
    data, mean = record_visits(Recommend(factors, steps=10), 50, seed=1, sharpness=0.7, random=0.2)
    buffer = data.buffer
    ends = np.cumsum(buffer.lengths)
    for begin, end in zip(ends - buffer.lengths, ends, strict=True):
        items = buffer.actions()[begin:end, 0].tolist()
        assert len(set(items)) == len(items) <= 10
        expected = [probabilities(factors, items[:step], 0.7, 0.2)[item] for step, item in enumerate(items)]
        np.testing.assert_allclose(buffer.behaviour()[begin:end], expected, rtol=1e-5)
    assert mean == pytest.approx(buffer.returns().mean())
    again, _ = record_visits(Recommend(factors, steps=10), 50, seed=1, sharpness=0.7, random=0.2)
    np.testing.assert_array_equal(again.buffer.actions(), buffer.actions())


def test_masks_are_recorded_where_repeats_are_forbidden(factors: Factors) -> None:
    data, _ = record_visits(Recommend(factors, steps=6, repeats=False), 20)
    (batch,) = data.buffer.batches(window=6, context=6, discount=1.0, tokens=10_000)
    assert batch.allowed is not None
    for row in range(20):
        there = int(batch.valid[row].sum())
        for step in range(there + 1):
            shown = set(batch.action[row, :step, 0].tolist())
            assert set(np.flatnonzero(~batch.allowed[row, step, 0].numpy()).tolist()) == shown
    assert record_visits(Recommend(factors, steps=6), 20)[0].buffer.layout.masked is False


def test_visits_are_those_of_the_environment(factors: Factors) -> None:
    env, rng, count = Recommend(factors, steps=12), np.random.default_rng(0), 600
    data, mean = record_visits(env, 4_000, sharpness=1.0, random=0.1)
    returns: list[float] = []
    lengths: list[int] = []
    ratings: list[float] = []
    left: list[bool] = []
    for seed in range(count):
        env.reset(seed=seed)
        shown: list[int] = []
        over, total = False, 0.0
        while not over:
            item = int(rng.choice(ITEMS, p=probabilities(factors, shown, 1.0, 0.1)))
            seen, reward, terminated, truncated, _ = env.step(item)
            shown.append(item)
            total, over = total + reward, terminated or truncated
            if reward and not over:
                ratings.append(seen[0])
        returns.append(total)
        lengths.append(len(shown))
        left.append(terminated)
    buffer = data.buffer
    last = [batch.discount[batch.valid].numpy() for batch in buffer.batches(window=12, context=12, discount=1.0)]
    ended = 1.0 - sum(one.sum() for one in last) / len(buffer)  # a share of all steps, as no other step has discount 0
    pairs: list[tuple[Any, Any]] = [(returns, buffer.returns()), (lengths, buffer.lengths)]
    for played, of_data in pairs:
        error = np.std(played) * np.sqrt(1 / count + 1 / 4_000)
        assert abs(np.mean(played) - of_data.mean()) < 3.5 * error
    assert abs(ended * np.mean(buffer.lengths) - np.mean(left)) < 3.5 * np.std(left) / np.sqrt(count)
    path = data.observation.leaves[0].path
    seen_there = buffer.observations(path)[:, 0]
    stars = 5 * seen_there[seen_there > 0]
    assert abs(5 * np.mean(ratings) - stars.mean()) < 3.5 * stars.std() * np.sqrt(12 / len(ratings))
    assert set(np.round(stars, 3)) <= {1, 2, 3, 4, 5} and mean == pytest.approx(buffer.returns().mean())


@pytest.mark.parametrize("given", [{"visits": 1}, {"visits": 5, "sharpness": -1.0}, {"visits": 5, "random": 1.5}])
def test_arguments_that_are_wrong(factors: Factors, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected at least 2 visits, a sharpness of at least 0 and a random share"):
        record_visits(Recommend(factors), **given)
