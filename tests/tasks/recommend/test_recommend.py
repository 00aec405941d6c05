"""The simulator of recommendations: fitted factors, how users behave, the environment's contract, and what players earn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from seqel.errors import ConfigError, DataError, EnvironmentFault, SpaceError
from seqel.tasks.recommend import Behaviour, Factors, Recommend, Users, fit_factors, players, read_ratings
from seqel.tasks.recommend.environment import users_of

ITEMS, RANK = 60, 3


def made_up(seed: int = 0) -> tuple[Any, Any, Any]:
    """Ratings of 80 users, from vectors of rank 3."""
    rng = np.random.default_rng(seed)
    of_users, of_items = rng.normal(size=(80, RANK)), rng.normal(size=(ITEMS, RANK))
    user, item = np.nonzero(rng.random((80, ITEMS)) < np.linspace(0.2, 0.9, ITEMS))  # later items are more popular
    return user, item, 3.0 + (of_users[user] * of_items[item]).sum(axis=1)


@pytest.fixture(scope="module")
def factors() -> Factors:
    return fit_factors(*made_up(), tuple(map(str, range(ITEMS))), rank=RANK, regularisation=0.1)


def test_factors_predict_the_ratings(factors: Factors) -> None:
    user, item, rating = made_up()
    predicted = factors.mean + factors.bias[item] + (factors.users[user] * factors.items[item]).sum(axis=1)
    assert np.sqrt(np.square(predicted - rating).mean()) < 0.15 < np.std(rating)
    assert abs(factors.popularity.mean()) < 1e-9 and abs(factors.popularity.std() - 1.0) < 1e-9
    assert factors.popularity[-10:].mean() > 0.5 > -0.5 > factors.popularity[:10].mean()


def arriving(factors: Factors, count: int = 2) -> Users:
    return Users.arriving(factors.users[:count], ITEMS)


def test_an_item_that_was_taken_bores_and_is_not_taken_again(factors: Factors) -> None:
    behaviour, before = Behaviour(drift=0.0), arriving(factors)
    after = before.after(np.array([4, 5]), np.array([1.0, 0.0]), np.array([3.0, 3.0]), factors, behaviour)
    ratio = np.log(after.takes(factors, behaviour) / before.takes(factors, behaviour))
    direction = factors.items / np.linalg.norm(factors.items, axis=1, keepdims=True)
    alike = direction @ direction[4]
    assert (ratio[0, (alike > 0.1) & (np.arange(ITEMS) != 4)] < 0.0).all() and ratio[0, 4] < -1.0
    assert (np.abs(ratio[0, alike < 0.0]) < 1e-12).all()
    np.testing.assert_allclose(np.delete(ratio[1], 5), 0.0, atol=1e-12)  # what was refused does not bore
    assert ratio[1, 5] < -1.0 and after.shown.sum(axis=1).tolist() == [1, 1]
    np.testing.assert_allclose(after.boredom[0], direction[4])
    later = after.after(np.array([6, 6]), np.zeros(2), np.full(2, 3.0), factors, behaviour)
    np.testing.assert_allclose(later.boredom[0], 0.8 * direction[4])


def test_satisfaction_is_a_moving_average_and_says_who_leaves(factors: Factors) -> None:
    behaviour = Behaviour()
    after = arriving(factors).after(np.array([1, 1]), np.array([1.0, 0.0]), np.array([5.0, 5.0]), factors, behaviour)
    np.testing.assert_allclose(after.satisfaction, [0.2 * 2.0, 0.2 * behaviour.refused])
    expected = 1.0 / (1.0 + np.exp(2.0 + 5.0 * after.satisfaction))
    np.testing.assert_allclose(after.leave(behaviour), expected)
    assert after.leave(behaviour)[0] < 0.05 < after.leave(behaviour)[1]


def test_taste_drifts_towards_what_was_liked(factors: Factors) -> None:
    before, behaviour = arriving(factors), Behaviour(drift=0.1)
    liked = before.after(np.array([7, 7]), np.ones(2), np.array([5.0, 2.0]), factors, behaviour)
    gained = liked.ratings(factors)[:, 7] - before.ratings(factors)[:, 7]
    assert gained[0] > 0.0 and gained[1] == pytest.approx(0.0)
    wandering = before.after(np.array([7, 7]), np.ones(2), np.full(2, 3.0), factors, behaviour, np.ones((2, RANK)))
    assert not np.allclose(wandering.taste, before.taste)


def test_it_follows_gymnasiums_rules(factors: Factors) -> None:
    check_env(Recommend(factors), skip_render_check=True)


def test_the_same_seed_gives_the_same_visit(factors: Factors) -> None:
    found = [players.visit(Recommend(factors), players.popular, seed=3) for _ in range(2)]
    assert found[0] == found[1]


def test_a_visit_ends_when_the_user_leaves_or_after_its_steps(factors: Factors) -> None:
    patient = Recommend(factors, behaviour={"leaving": -100.0}, steps=5)
    patient.reset(seed=0)
    found = [patient.step(np.int64(item)) for item in range(5)]
    assert [one[3] for one in found] == [False] * 4 + [True] and found[-1][4]["left"] is False
    assert all(one[1] in (0.0, 1.0) and (one[0][0] > 0.0) == (one[1] == 1.0) for one in found)
    with pytest.raises(EnvironmentFault, match="expected a reset before this step"):
        patient.step(np.int64(0))
    impatient = Recommend(factors, behaviour={"leaving": 100.0})
    impatient.reset(seed=0)
    _, _, terminated, truncated, info = impatient.step(np.int64(0))
    assert terminated and not truncated and info["left"] is True


def test_items_that_were_shown_can_be_forbidden(factors: Factors) -> None:
    env = Recommend(factors, behaviour={"leaving": -100.0}, steps=5, repeats=False)
    assert env.reset(seed=0)[1]["action_mask"].all()
    for count, item in enumerate((7, 3, 9), start=1):
        mask = env.step(np.int64(item))[4]["action_mask"]
        assert mask.sum() == ITEMS - count and not mask[item]
    assert "action_mask" not in Recommend(factors).reset(seed=0)[1]
    with pytest.raises(ConfigError, match="expected more than 60 items, one for each step, got 60"):
        Recommend(factors, steps=ITEMS, repeats=False)


def test_users_of_the_splits_differ(factors: Factors) -> None:
    parts = [set(users_of(80, split).tolist()) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [56, 12, 12] and len(set.union(*parts)) == 80
    env = Recommend(factors, "test")
    assert {env.reset(seed=seed)[1]["user"] for seed in range(60)} == parts[2]


def test_players_that_know_more_earn_more(factors: Factors) -> None:
    env = Recommend(factors, behaviour={"liking": 0.1})

    def mean(player: players.Player, visits: int = 40) -> float:
        return float(np.mean([players.visit(env, player, seed) for seed in range(visits)]))

    rng = np.random.default_rng(0)
    by_chance, popular = mean(lambda _: int(rng.integers(ITEMS))), mean(players.popular)
    taken, planned = mean(players.most_taken), mean(players.planned)
    assert by_chance < popular < planned and by_chance < taken < planned
    assert mean(players.best_rated) < planned


def test_ratings_of_a_file(tmp_path: Path) -> None:
    user, item, rating = made_up()
    rows = "".join(f"u{a},film {b},{c}\n" for a, b, c in zip(user, item, rating, strict=True))
    (tmp_path / "r.csv").write_text("user,item,rating\n" + rows)
    found = read_ratings(tmp_path / "r.csv", rank=RANK)
    assert found.users.shape == (80, RANK) and len(found.names) == ITEMS and "film 3" in found.names
    env = Recommend(tmp_path / "r.csv")
    assert env.action_space == spaces.Discrete(ITEMS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\n1,2\n", "expected the columns user, item and rating, got none named rating"),
        ("user,item,rating\n" + "1,2,3\n" * 99, "expected at least 100 ratings, got 99"),
        ("user,item,rating\n" + "1,2,x\n" * 100, "rating: expected numbers"),
        ("user,item,rating\n" + "1,2,nan\n" * 100, "rating: expected finite numbers, got nan"),
        ("", "expected the columns user, item and rating"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_ratings(tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratings": None}, "ratings: expected a CSV file"),
        ({"split": "all"}, "split: expected one of train, validation, test, got 'all'"),
        ({"steps": 0}, "steps: expected an integer of at least 1"),
        ({"behaviour": {"boredom": -1.0}}, "behaviour: boredom: expected a number from 0 to 100, got -1.0"),
        ({"behaviour": {"fame": 1.0}}, "behaviour: expected names among interest, popularity, .*, got 'fame'"),
    ],
)
def test_arguments_that_are_wrong(factors: Factors, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recommend(**{"ratings": factors} | given)


def test_an_item_that_does_not_exist(factors: Factors) -> None:
    env = Recommend(factors)
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="expected an item in Discrete"):
        env.step(np.int64(ITEMS))
