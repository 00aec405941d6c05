"""Calibration: budgets as people write them, numbers as the agent gives them, and a threshold that keeps its budget."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.tasks.opinion.metrics import hours_between_false_alarms
from seqel.tasks.opinion.monitoring import WAIT, OpinionMonitoring
from seqel.tasks.opinion.stream import draw_stream, part_of
from seqel.watching.calibration import STREAM, blank, calibrate, numbers_of, parse_budget, vectors_of, weights_of
from support_opinion import opinions
from support_watching import SETTING, make_agent


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("1 false alarm per week", 168.0), ("2 false alarms per day", 12.0), ("1/month", 720.0), ("0.5 per week", 336.0),
        ("3 in 2 years", 5_840.0), (" 1 FALSE ALARM PER 500 hours ", 500.0),
    ],
)  # fmt: skip
def test_budgets(text: str, hours: float) -> None:
    assert parse_budget(text) == hours


@pytest.mark.parametrize(
    "text", ["", "weekly", "0 per week", "1 per 0 weeks", "-1 per week", "1 per fortnight", "1 per week!"]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a number of false alarms about one company"):
        parse_budget(text)


def test_numbers_are_those_of_acting_alone() -> None:
    agent, rng = make_agent(), np.random.default_rng(0)
    streams = [draw_stream(rng, SETTING, 10.0, np.inf) for _ in range(3)]
    found = numbers_of(agent, opinions(), "test", SETTING, streams, 10.0)
    for place, stream in enumerate(streams):
        env, state = OpinionMonitoring(opinions(), "test", SETTING, hours=10.0), None
        seen, _ = env.reset(seed=place, options={"stream": stream})
        for number in found[place]:
            batch = {name: [value] if name == "text" else np.asarray(value)[None] for name, value in seen.items()}
            decision, state = agent.act(batch, state, previous_action=None if state is None else np.array([WAIT]))
            assert decision.q[0, 1] - decision.q[0, 0] == pytest.approx(number, abs=1e-5)
            seen, *_ = env.step(WAIT)


def test_the_threshold_keeps_its_budget() -> None:
    agent = make_agent()
    found = calibrate(agent, opinions(), SETTING, budget=100.0)
    assert found.budget == 100.0 and found.agent == weights_of(agent) == weights_of(make_agent())
    assert found.sentiment.accuracy > 0.9  # the first word tells it
    rng = np.random.default_rng(5)
    fresh = [draw_stream(rng, SETTING, STREAM, np.inf) for _ in range(12)]
    numbers = numbers_of(agent, opinions(), "validation", SETTING, fresh, STREAM)
    assert 70.0 < hours_between_false_alarms(fresh, numbers, found.threshold, STREAM) < 140.0
    single = [part_of(stream, [company])[1] for stream in fresh for company in range(SETTING.companies)]
    numbers = numbers_of(agent, opinions(), "validation", SETTING, single, STREAM)
    assert found.alone != found.threshold
    assert 70.0 < hours_between_false_alarms(single, numbers, found.alone, STREAM) < 140.0
    agent.network.head.scale.data += 1.0
    assert weights_of(agent) != found.agent


def test_a_budget_that_cannot_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"at least one false alarm in 23,040 hours .* got one in 87,600"):
        calibrate(make_agent(), opinions(), SETTING, budget=parse_budget("1 per 10 years"))


def test_vectors_are_the_agents_own() -> None:
    agent = make_agent()
    found = vectors_of(agent, blank(["Losses grow", "Profits grow", "Losses grow"]))
    assert found.shape == (3, 16) and (found[0] == found[2]).all() and not np.allclose(found[0], found[1])
