"""The scripted players of customer service: beliefs by hand, and who is better where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.players import Evidence, Lookahead, Player, Thresholds, play
from seqel.tasks.customers.service import PLAIN, CustomerService
from support_customers import classify, corpus

COSTS = Costs(wrong_of={"card lost": -5.0})


def environment(setting: Any = "plain") -> CustomerService:
    return CustomerService(corpus(), "test", COSTS, setting)


def test_expected_rewards_of_answers_by_hand() -> None:
    player = Evidence(environment(), classify)
    # balance, card broken, card lost, transfer; out of scope
    found = player.answers(np.array([0.5, 0.0, 0.25, 0.0, 0.25]))
    wrong = -0.5 - 5 * 0.25 - 0.25
    assert found.tolist() == pytest.approx([wrong + 2 * 0.5, wrong, wrong + 6 * 0.25, wrong])


def test_evidence_of_two_sentences_multiplies() -> None:
    player = Evidence(environment(), classify)
    player.reset()
    for _ in range(2):
        player.hear(np.log([0.4, 0.3, 0.2, 0.1, 1e-9]))
    assert player.belief[:4].tolist() == pytest.approx([16 / 30, 9 / 30, 4 / 30, 1 / 30], abs=1e-6)
    player.pair = [0, 1]
    player.hear_reply(3)
    assert player.belief[:4].tolist() == pytest.approx([0.0, 0.0, 0.8, 0.2], abs=1e-6)
    player.hear_reply(2)
    assert player.belief.tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_who_hears_badly_asks() -> None:
    env = environment()
    seen, _ = env.reset(seed=0)
    assert Thresholds(env, classify, sure=0.95).act(seen, True) == env.ask
    heard = int(classify([seen["said"]])[0].argmax())
    assert Thresholds(env, classify, sure=0.5).act(seen, True) == heard
    assert Thresholds(env, classify, sure=0.95, most=0).act(seen, True) == env.hand_over


def test_the_share_out_of_scope_is_learned_within_a_shift() -> None:
    env = environment({"out_of_scope": 1.0, "drift": 0.0})
    seen, _ = env.reset(seed=0, options={"levels": (1.0, 0.0)})
    player, shares = Evidence(env, classify, most=0), []
    first = True
    for _ in range(6):
        player.act(seen, first)
        shares.append(player.outside[0] / sum(player.outside))
        first = False
        seen, *_ = env.step(env.hand_over)
    assert shares == pytest.approx([(1 + number) / (10 + number) for number in range(6)])


def test_knowing_more_is_worth_more() -> None:
    env = environment("full")
    players: list[Player] = [
        Thresholds(env, classify, 0.0, 0),
        Evidence(env, classify),
        Lookahead(env, classify, draws=16),
    ]
    rewards = [play(env, player, 150, seed=0) for player in players]
    assert rewards[0].reward < rewards[1].reward < rewards[2].reward
    for found in rewards:
        assert sum(found.outcomes.values()) == pytest.approx(1.0)
    assert rewards[0].outcomes["left"] == 0.0 and rewards[0].asked == 0.0


def test_a_lookahead_expects_changes_of_mind() -> None:
    env = environment({"changes": 0.4, "unclear": 0.8, "out_of_scope": 0.3})
    player = Lookahead(env, classify, draws=16)
    assert player._mixed(np.array([0.5, 0.0, 0.25, 0.0, 0.25])).tolist() == pytest.approx(
        [0.375, 0.075, 0.225, 0.075, 0.25]
    )
    player.belief = np.array([0.5, 0.0, 0.25, 0.0, 0.25])
    told = player._afresh(-0.5)  # what is said after a change of mind, over all sentences
    player.draws = 4_000
    assert player._open(player.scoped, -0.5) == pytest.approx(told, abs=0.01)
    # 0.45 of 0.75 still want one of the pair; 0.25 are out of scope, and handed over; 0.3 have changed their mind
    assert player._pair(-0.5) == pytest.approx(0.45 * 1.0 + 0.25 * -0.5 + 0.3 * told)

    class Unaware(Lookahead):
        """Believes that minds do not change."""

        def _mixed(self, belief: Any) -> Any:
            return belief

    env = environment({"changes": 0.8, "unclear": 0.8, "impatient": 0.0, "out_of_scope": 0.3})
    rewards = [play(env, one(env, classify, draws=16), 800, seed=0).reward for one in (Unaware, Lookahead)]
    assert rewards[0] < rewards[1]


def test_what_a_lookahead_expects_by_hand() -> None:
    env = environment(replace(PLAIN, impatient=0.25))
    player = Lookahead(env, classify)
    seen, _ = env.reset(seed=0)
    player.follow(seen, True)
    player.belief = np.array([0.5, 0.0, 0.25, 0.25, 0.0])
    player._open = lambda belief, over: 0.6  # type: ignore[method-assign]
    wrong, reply = -0.5 - 5 * 0.25 - 0.25, 0.75 + 0.25  # those of the pair, and who wants what is left: always right
    expected = [wrong + 2 * 0.5, wrong, wrong + 6 * 0.25, wrong + 2 * 0.25, 0.6 - 0.15, reply - 0.15, -0.3]
    assert player.expected(seen).tolist() == pytest.approx(expected)
    assert player.decide(seen) == env.offer
    leave = 0.25 * -1.0  # at the second question
    found = player.expected(seen | {"asked": 1})[4:6].tolist()
    assert found == pytest.approx([leave + 0.75 * 0.45, leave + 0.75 * 0.85])
    assert player.expected(seen | {"asked": 4})[4:6].tolist() == [-1.0, -1.0]  # everyone leaves at the fifth


def test_in_the_plain_setting_summed_evidence_is_enough() -> None:
    """Where nothing is hidden but the intent, a lookahead has nothing to win over a tuned threshold."""
    env = environment()
    tuned = [
        play(env, Evidence(env, classify, least, 3, pairs=pairs), 100, seed=0).reward
        for least in (0.5, 0.7, 0.9)
        for pairs in (False, True)
    ]
    assert max(tuned) == pytest.approx(play(env, Lookahead(env, classify, draws=16), 100, seed=0).reward, abs=0.03)
