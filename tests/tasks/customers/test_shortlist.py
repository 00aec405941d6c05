"""The shortlist: a rule that acts on it does what the same rule does on the sentences, and bad arguments are refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.customers import CustomerService, Shortlist, classifier_of, shortlist
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.players import FLOOR, Evidence, Lookahead, play
from seqel.tasks.customers.service import OUTCOMES
from seqel.tasks.customers.shortlist import make_shortlist
from support_customers import classify, corpus
from tiny_models import tiny_encoder

COSTS = Costs(wrong_of={"card lost": -5.0})


def environment(setting: Any = "full", size: int = 3, player: Any = Evidence) -> Shortlist:
    return Shortlist(CustomerService(corpus(), "test", COSTS, setting), partial(player, classifier=classify), size)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.parametrize("player", [Evidence, Lookahead])
def test_gymnasium_finds_nothing_wrong(player: Any) -> None:
    env = environment(player=player)
    env.action_space.seed(0)
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize("pairs", [False, True])
def test_a_rule_on_the_shortlist_earns_what_the_player_earns(pairs: bool) -> None:
    service, env = CustomerService(corpus(), "test", COSTS), environment(size=4)
    expected = play(service, Evidence(service, classify, 0.71, 2, pairs=pairs), 40, seed=3).rewards
    found = []
    for shift in range(40):
        seen, _ = env.reset(seed=3 + shift)
        total, over = 0.0, False
        while not over:
            best, out = int(seen["answer"].argmax()), float(seen["hand_over"][0])
            if max(float(seen["answer"][best]), out) < 0.71 and seen["asked"] < 2:
                action = env.offer if pairs else env.ask
            else:
                action = best if seen["answer"][best] >= out else env.hand_over
            seen, reward, over, _, _ = env.step(action)
            total += reward
        found.append(total / service.customers)
    assert found == pytest.approx(expected)


def test_a_rule_that_follows_the_expected_rewards_earns_what_the_lookahead_earns() -> None:
    service, env = CustomerService(corpus(), "test", COSTS), environment(size=4, player=Lookahead)
    expected = play(service, Lookahead(service, classify), 40, seed=3)
    found = []
    for shift in range(40):
        seen, _ = env.reset(seed=3 + shift)
        total, over = 0.0, False
        while not over:
            assert seen["expected"].max() == 0.0 and seen["best"] >= seen["answer"].max() - 1e-6
            seen, reward, over, _, _ = env.step(int(seen["expected"].argmax()))
            total += reward
        found.append(total / service.customers)
    assert found == pytest.approx(expected.rewards) and expected.asked > 0.3


def test_expected_rewards_are_optional() -> None:
    assert "expected" not in environment().reset(seed=0)[0]
    without = Shortlist(CustomerService(corpus(), "test"), partial(Lookahead, classifier=classify), expected=False)
    assert not {"expected", "best"} & set(without.reset(seed=0)[0])
    with pytest.raises(
        ConfigError, match="expected: needs a player that computes them, such as Lookahead, got Evidence"
    ):
        Shortlist(CustomerService(corpus(), "test"), partial(Evidence, classifier=classify), expected=True)


def test_what_is_observed() -> None:
    env = environment("plain")
    seen, info = env.reset(seed=0)
    belief = env.player.belief
    assert info == {"shortlist": np.argsort(-belief[:-1], kind="stable")[:3].tolist()}
    assert seen["probability"].tolist() == pytest.approx(sorted(belief[:-1], reverse=True)[:3], abs=1e-6)
    said = env.player.evidence(next(iter(env.player.said)))
    assert seen["sentence"].tolist() == pytest.approx(np.exp(said[[*info["shortlist"], -1]]).tolist(), abs=1e-6)
    assert seen["hand_over"].tolist() == pytest.approx([-0.3])
    right = info["shortlist"].index(env.service._customer.intent)
    seen, reward, _, _, info = env.step(right)
    assert reward == 1.0 and OUTCOMES[int(seen["outcome"])] == info["customer"]["outcome"] == "right"


def test_an_offer_is_about_the_first_two() -> None:
    env = environment("plain")
    env.reset(seed=0)
    for _ in range(8):
        first, second = env._ranked[:2].tolist()
        seen, reward, *_ = env.step(env.offer)
        assert reward == -0.15 and seen["asked"] == 1
        wanted = env.service._customer.intent
        assert int(seen["reply"]) == (1 if wanted == first else 2 if wanted == second else 3)
        assert not seen["sentence"].any()  # nothing was said
        if seen["reply"] != 3:
            assert seen["probability"].tolist() == [1.0, 0.0, 0.0] and env._ranked[0] == wanted
        env.step(env.hand_over)


@pytest.mark.parametrize("size", [0, 1, 5, 2.5])
def test_sizes_that_are_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match="size: expected"):
        environment(size=size)


def test_actions_that_are_refused() -> None:
    env = environment()
    for action in (0, env.ask, env.offer):
        with pytest.raises(EnvironmentFault, match="expected a reset before this step"):
            env.step(action)
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="expected an action from 0 to 5, got 6"):
        env.step(6)


class Reader:
    """Reads a text as two numbers."""

    dtype, shape, reads = "float32", (2,), "text, as two numbers"

    def read(self, texts: Any) -> Any:
        return np.log(np.full((len(texts), 2), 0.5, np.float32))


def test_a_classifier_without_out_of_scope() -> None:
    found = classifier_of(Reader(), 2)(["a", "b"])  # type: ignore[arg-type]
    assert found == pytest.approx(np.array([[np.log(0.5), np.log(0.5), FLOOR]] * 2))
    assert classifier_of(Reader(), 1)(["a"]).shape == (1, 2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected the log-probabilities of 4 intents, got text, as two numbers"):
        classifier_of(Reader(), 4)  # type: ignore[arg-type]


def test_environments_of_a_process_share_the_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = (make_shortlist(corpus(), str(tiny_encoder()), 2, split="test", customers=3) for _ in range(2))
    assert one.size == 2 and one.service.customers == 3
    assert one.player.classifier is not other.player.classifier  # each env has its own memory of what it heard
    seen, _ = one.reset(seed=4)
    again, _ = other.reset(seed=4)
    assert seen["probability"].tolist() == again["probability"].tolist()
    fitted = len(shortlist._FITTED)
    make_shortlist(corpus(), str(tiny_encoder()))
    assert len(shortlist._FITTED) == fitted
    with pytest.raises(ConfigError, match=r"model: expected the encoder .* --env-arg model=MODEL"):
        make_shortlist(corpus())
    with pytest.raises(ConfigError, match="utterances: expected a CSV file"):
        make_shortlist()
