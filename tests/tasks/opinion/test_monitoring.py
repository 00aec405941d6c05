"""Opinion monitoring: what alerts are worth, what is observed, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.opinion.monitoring import ALERT, WAIT, Costs, OpinionMonitoring
from seqel.tasks.opinion.stream import Setting, Stream
from support_opinion import WORDS, opinions

COSTS = Costs(detection=1.0, delay=-0.02, false_alarm=-0.5, fatigue=-0.1)
# two companies; the second is in a crisis from hour 2 on
TIMES = np.array([0.5, 1.0, 2.0, 8.0, 9.0, 40.0])
STREAM = Stream(
    TIMES, np.array([0, 1, 1, 1, 0, 1]), np.array([1, 2, 0, 0, 1, 0]), np.array([np.inf, 2.0]), np.zeros((2, 2), bool)
)


def environment(**changes: Any) -> OpinionMonitoring:
    arguments: dict[str, Any] = {"setting": Setting(companies=2), "costs": COSTS} | changes
    return OpinionMonitoring(opinions(), "test", **arguments)


def played(*actions: int) -> tuple[list[Any], list[float]]:
    env = environment()
    seen, _ = env.reset(seed=0, options={"stream": STREAM})
    observations, rewards = [seen], []
    for place, action in enumerate(actions):
        seen, reward, over, truncated, _ = env.step(action)
        observations.append(seen)
        rewards.append(reward)
        assert over == (place == 5) and not truncated
    return observations, rewards


def test_it_follows_gymnasiums_rules() -> None:
    check_env(environment(), skip_render_check=True)


def test_a_setting_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"setting: expected a Setting or its entries, such as {companies = 4}"):
        environment(setting='{"companies": 3}')


def test_what_is_observed() -> None:
    observations, _ = played(*[WAIT] * 6)
    assert [int(one["company"]) for one in observations] == [0, 1, 1, 1, 0, 1, 1]
    texts = [one["text"].split()[0] for one in observations[:6]]
    assert texts == [WORDS[name] for name in ("neutral", "positive", "negative", "negative", "neutral", "negative")]
    gaps = [float(one["gap"][0]) for one in observations[:6]]
    assert gaps == pytest.approx([math.log1p(gap) for gap in (0.5, 0.5, 1.0, 6.0, 1.0, 31.0)])
    same = [float(one["same"][0]) for one in observations[:6]]
    assert same == pytest.approx([20.0, 20.0, math.log1p(1.0), math.log1p(6.0), math.log1p(8.5), math.log1p(32.0)])
    assert {float(one["alerted"][0]) for one in observations} == {20.0}


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([0, 0, 1, 0, 0, 0], [0, 0, 1.0, 0, 0, 0]),  # at once
        ([0, 0, 0, 1, 0, 0], [0, 0, -0.12, 1.0, 0, 0]),  # six hours later
        (
            [0, 0, 0, 0, 0, 0],
            [0, 0, -0.12, -0.64, 0, -0.16],
        ),  # never: 38 of 46 hours, the last 8 until the end of the stream
        ([0, 1, 0, 1, 0, 0], [0, -0.5, -0.12, 1.0 - 0.1, 0, 0]),  # the first too early, so that the analyst is tired
        (
            [1, 1, 1, 1, 1, 1],
            [-0.5, -0.6, 1.0 - 0.2, -0.5 - 0.3, -0.5 - 0.4, -0.5],
        ),  # a day later the analyst is not tired
    ],
)
def test_what_alerts_are_worth(actions: list[int], expected: list[float]) -> None:
    observations, rewards = played(*actions)
    assert rewards == pytest.approx(expected)
    if actions[1] and not actions[2]:
        assert [float(one["alerted"][0]) for one in observations[2:4]] == pytest.approx(
            [math.log1p(1.0), math.log1p(7.0)]
        )


def test_streams_are_drawn_by_the_seed() -> None:
    env = environment(hours=24.0)
    first, again, other = (env.reset(seed=seed)[0] for seed in (1, 1, 2))
    assert first["text"] == again["text"] and first["gap"] == again["gap"] != other["gap"]
    _, info = env.reset(seed=3)
    total, over = 0, False
    while not over:
        _, _, over, _, info = env.step(WAIT)
        total += 1
    assert total > 10 and set(info) == {"time", "sentiment", "in_crisis"} and info["time"] < 24.0
    with pytest.raises(EnvironmentFault, match="expected a reset"):
        env.step(ALERT)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="hours: expected at least 1"):
        environment(hours=0.5)
    for bad, said in (
        ({"false_alarm": 0.5}, "of at most 0"),
        ({"delay": 0.1}, "of at most 0"),
        ({"detection": math.nan}, "finite"),
    ):
        with pytest.raises(ConfigError, match=said):
            Costs(**bad)
    env = environment()
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="expected 0"):
        env.step(2)
