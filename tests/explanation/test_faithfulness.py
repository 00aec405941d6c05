"""Deletion and insertion prefer an order that is true to the network, and their curves are those computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqel.errors import ConfigError
from seqel.explanation.attribute import attribute
from seqel.explanation.faithfulness import faithfulness, rank_of, separation
from seqel.explanation.question import Question, explained
from seqel.explanation.reading import Reading
from support_explanation import make_agent, make_trace


def test_the_curves_of_two_past_steps_by_hand() -> None:
    agent = make_agent(context=16)
    trace = make_trace(agent)
    weights = np.zeros((1, 10), np.float32)
    weights[0, :3] = (1.0, 2.0, 9.0)  # of the decision at step 2: step 1 first, then step 0; its own is not hidden
    reading = Reading(agent, trace)
    wanted = explained(reading, [2], Question())

    def share(hidden: list[int]) -> tuple[float, float]:
        tokens = reading.tokens.clone()
        tokens[hidden] = reading.mean_token
        with torch.no_grad():
            h = reading.states(tokens[None])[0, 2:3]
            kept = agent.network.head(h).q[0, 0].argmax() == wanted.codes[0, 0]
            return float(wanted.values(reading, h)), float(kept)

    whole = share([])[0]
    clipped = lambda hidden: float(np.clip(share(hidden)[0] / whole, -1, 1))  # noqa: E731
    found = faithfulness(agent, trace, weights, [2])
    everything = clipped([0, 1])
    assert found.deletion[0] == pytest.approx((1.0 + 2 * clipped([1]) + everything) / 4, abs=1e-5)
    assert found.insertion[0] == pytest.approx((everything + 2 * clipped([0]) + 1.0) / 4, abs=1e-5)
    assert found.deletion_kept[0] == (1.0 + 2 * share([1])[1] + share([0, 1])[1]) / 4
    assert found.insertion_kept[0] == (share([0, 1])[1] + 2 * share([0])[1] + 1.0) / 4
    assert found.dropped[0] == pytest.approx(1.0 - clipped([1]), abs=1e-5)


def test_a_hidden_step_can_show_what_another_episode_shows_there() -> None:
    agent = make_agent(context=16)
    trace, short, late = make_trace(agent), make_trace(agent, 1, seed=1), make_trace(agent, 9, seed=2, start=2)
    weights = np.zeros((1, 10), np.float32)
    weights[0, :3] = (1.0, 9.0, 2.0)  # of the decision at step 3: step 1 first, then 2, then 0
    reading = Reading(agent, trace, [short, late])
    wanted = explained(reading, [3], Question())

    def share(hidden: list[int], tokens: dict[int, torch.Tensor]) -> float:
        changed = reading.tokens.clone()
        for step in hidden:
            changed[step] = tokens.get(step, reading.mean_token)
        with torch.no_grad():
            return float(wanted.values(reading, reading.states(changed[None])[0, 3:4]))

    (_, first), (_, second) = reading.others
    theirs = ({0: first[0], 1: first[1]}, {2: second[0]})  # step 2 is the first that is known of the late one
    whole = share([], {})
    for other, tokens in enumerate(theirs):
        curve = [np.clip(share(hidden, tokens) / whole, -1, 1) for hidden in ([], [1], [1, 2], [0, 1, 2])]
        found = faithfulness(agent, trace, weights, [3], reading=reading, other=other)
        assert found.deletion[0] == pytest.approx(np.trapezoid(curve) / 3, abs=1e-5)
    usual = faithfulness(agent, trace, weights, [3], reading=reading)
    assert abs(usual.deletion[0] - found.deletion[0]) > 1e-4
    with pytest.raises(ConfigError, match="one of the 2 other episodes, from 0 on, got 2"):
        faithfulness(agent, trace, weights, [3], reading=reading, other=2)


def test_a_true_order_beats_its_reverse_and_a_random_one() -> None:
    agent = make_agent(context=16)
    traces = [make_trace(agent, 12, seed) for seed in range(6)]
    rng = np.random.default_rng(0)
    steps = list(range(4, 12))

    def mean(order: str) -> tuple[float, float]:
        found = []
        for trace in traces:
            weights = attribute(agent, trace, "occlusion", steps)
            orders: dict[str, Any] = {"true": weights, "reverse": -weights, "random": rng.normal(size=weights.shape)}
            one = faithfulness(agent, trace, orders[order], steps)
            found.append((one.deletion.mean(), one.insertion.mean()))
        return tuple(np.mean(found, axis=0))

    (true, inserted), (reverse, last), (chance, some) = mean("true"), mean("reverse"), mean("random")
    assert true < chance < reverse and inserted > some > last


def test_ranks_share_ties_and_count_from_one() -> None:
    weights = np.array([0.1, -0.5, 0.3, 0.3, 7.0])
    assert rank_of(weights, [1], 4) == 1.0  # by magnitude, and the decision's own step does not count
    assert rank_of(weights, [2], 4) == 2.5
    assert rank_of(weights, [0, 3], 4) == 2.5  # the best of several
    assert rank_of(np.ones(9), [0], 8) == 4.5  # a method that gives all the same is no better than chance
    with pytest.raises(ConfigError, match="a step before 4, got \\[4\\]"):
        rank_of(weights, [4], 4)


def test_separation_by_hand() -> None:
    weights = np.array([0.1, -0.5, 0.3, 0.3, 7.0])
    assert separation(weights, [1], 4) == 1.0
    assert separation(weights, [0, 2], 4) == pytest.approx((0 + 0 + 0 + 0.5) / 4)
    assert np.isnan(separation(weights, [0, 1, 2, 3], 4))


def test_mistakes_say_what_is_expected() -> None:
    agent = make_agent()
    trace = make_trace(agent)
    with pytest.raises(ConfigError, match=r"expected \(1, 10\), got \(1, 9\)"):
        faithfulness(agent, trace, np.zeros((1, 9)), [2])
    with pytest.raises(ConfigError, match="from 1 on"):
        faithfulness(agent, trace, np.zeros((1, 10)), [0])
