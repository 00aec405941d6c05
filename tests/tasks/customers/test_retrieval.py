"""Customers by retrieval: recorded decisions lead to what was recorded, others to similar dialogues, absurd ones nowhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

import seqel
from seqel.errors import ConfigError, DataError, EnvironmentFault, SpaceError
from seqel.tasks.customers.retrieval import RetrievedCustomers, make_retrieved_customers, read_turns
from support_dialogues import train_support
from tiny_models import tiny_encoder

WORDS = ("card", "lost", "book", "table", "noon", "yes", "thanks")


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[0.1, *(word in text for word in WORDS)] for text in texts], np.float32)


def rows(*turns: tuple[str, str, float]) -> list[dict[str, Any]]:
    return [{"said": said, "action": action, "reward": reward} for said, action, reward in turns]


BOOKINGS = [
    rows(
        ("book a table", "ask", -0.1), ("noon please", "confirm", -0.1), ("yes", "book", 0.9), ("thanks", "close", 0.0)
    ),
    rows(("book a table at noon", "confirm", -0.1), ("yes", "book", 0.8), ("thanks", "close", 0.0)),
    rows(("a table", "ask", -0.1), ("noon", "confirm", -0.1), ("yes do", "book", 0.7), ("thanks bye", "close", 0.0)),
]
CARDS = [
    rows(("lost card", "ask", -0.1), ("yes lost", "block", 0.5), ("thanks", "close", 0.0)),
    rows(("my card is lost", "block", 0.5), ("thanks", "close", 0.0)),
]
DIALOGUES = BOOKINGS + CARDS


def environment(**more: Any) -> RetrievedCustomers:
    return RetrievedCustomers(DIALOGUES, encode, **more)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_gymnasium_finds_nothing_wrong() -> None:
    env = environment()
    env.action_space.seed(0)
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize("number", range(len(DIALOGUES)))
def test_who_decides_as_people_did_gets_what_they_got(number: int) -> None:
    env = environment(nearest=1)
    seen, _ = env.reset(seed=0, options={"dialogue": number})
    for place, row in enumerate(DIALOGUES[number]):
        assert seen == {"text/said": row["said"]}
        seen, reward, over, truncated, info = env.step(np.int64(env.actions.index(row["action"])))
        assert reward == row["reward"] and info["understood"] and info["similarity"] == pytest.approx(1.0, abs=1e-6)
        assert over == (place == len(DIALOGUES[number]) - 1) and not truncated
    with pytest.raises(EnvironmentFault):
        env.step(0)


def test_another_decision_continues_as_in_the_most_similar_dialogue() -> None:
    env = environment(nearest=1)
    env.reset(seed=0, options={"dialogue": 1})  # "book a table at noon"
    seen, reward, over, _, info = env.step(np.int64(env.actions.index("ask")))
    assert info["understood"] and not over and reward == -0.1
    assert seen["text/said"] in {"noon please", "noon"}  # of the other bookings, not of the lost card


def test_a_decision_without_support_changes_nothing_until_the_customer_leaves() -> None:
    env = environment(repeated=-0.25)
    seen, _ = env.reset(seed=0, options={"dialogue": 0})
    for _ in range(2):
        again, reward, over, _, info = env.step(np.int64(env.actions.index("block")))  # no booking has this
        assert again == seen and reward == -0.25 and not over and not info["understood"]
    again, reward, over, truncated, _ = env.step(np.int64(env.actions.index("block")))
    assert over and not truncated and again == {"text/said": ""}


def test_decisions_that_changed_nothing_are_forgotten_once_one_is_understood() -> None:
    env = environment(nearest=1)
    env.reset(seed=0, options={"dialogue": 0})
    block, ask = env.actions.index("block"), env.actions.index("ask")
    env.step(np.int64(block))
    env.step(np.int64(block))
    _, _, over, _, info = env.step(np.int64(ask))
    assert not over and info["understood"]
    _, _, over, _, _ = env.step(np.int64(block))
    assert not over


def test_the_situation_counts_and_not_the_last_words_alone() -> None:
    """After "thanks", which all dialogues have, the two kinds of dialogues still differ by what was said before."""
    env = environment()
    env.reset(seed=0, options={"dialogue": 4})
    seen, *_ = env.step(np.int64(env.actions.index("block")))
    assert seen["text/said"] == "thanks"
    *_, info = env.step(np.int64(env.actions.index("confirm")))
    assert not info["understood"]


def test_more_similar_turns_are_drawn_more_often() -> None:
    env = environment(nearest=3)
    drawn = []
    for seed in range(200):
        env.reset(seed=seed, options={"dialogue": 0})
        seen, *_ = env.step(np.int64(env.actions.index("ask")))
        drawn.append(seen["text/said"])
    assert drawn.count("noon please") > drawn.count("noon") > 0


def test_only_some_dialogues_may_start_and_long_ones_are_truncated() -> None:
    env = environment(starts=[3, 4], limit=1)
    first = {env.reset(seed=seed)[0]["text/said"] for seed in range(20)}
    assert first == {"lost card", "my card is lost"}
    *_, over, truncated, _ = env.step(np.int64(env.actions.index("ask")))
    assert truncated and not over


def test_bad_arguments_and_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one"):
        RetrievedCustomers([], encode)
    with pytest.raises(DataError, match="'block' as well"):
        environment(actions=["ask", "book", "close", "confirm"])
    for starts in ([], [5], [-1]):
        with pytest.raises(ConfigError, match="starts"):
            environment(starts=starts)
    with pytest.raises(ConfigError, match="finite"):
        RetrievedCustomers(DIALOGUES, lambda texts: np.full((len(texts), 2), np.nan))
    with pytest.raises(ConfigError, match="model"):
        make_retrieved_customers("table.jsonl")
    env = environment()
    with pytest.raises(EnvironmentFault):
        env.step(0)
    env.reset()
    with pytest.raises(SpaceError):
        env.step(len(env.actions))
    path = tmp_path / "table.jsonl"
    path.write_text('{"dialogue": "a", "said": "x", "action": "ask", "reward": 0}\n{"dialogue": "b"}\n')
    with pytest.raises(DataError, match="line 2"):
        read_turns(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="at least one row"):
        read_turns(path)


def test_a_table_and_a_pretrained_encoder(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    lines = [json.dumps({"dialogue": name, **row}) for name, some in enumerate(DIALOGUES) for row in some]
    path.write_text("\n".join(lines))
    env = make_retrieved_customers(path, str(tiny_encoder()), nearest=1)
    seen, _ = env.reset(seed=1, options={"dialogue": 2})
    assert seen["text/said"] == "a table"
    other = make_retrieved_customers(path, str(tiny_encoder()), nearest=1)  # the same turns, and a state of its own
    assert other.words is env.words and other is not env
    other.reset(seed=2, options={"dialogue": 3})
    other.step(np.int64(env.actions.index("block")))
    seen, *_ = env.step(np.int64(env.actions.index("ask")))
    assert seen["text/said"] == "noon"
    assert (
        env._decided.sum() == 2.0 and other._decided.sum() == 2.0 and not np.array_equal(env._decided, other._decided)
    )
    path.write_text("\n".join(lines[:-1]))
    assert make_retrieved_customers(path, str(tiny_encoder()), nearest=1).words is not env.words


def test_an_agent_that_was_trained_on_a_table_is_evaluated(tmp_path: Path) -> None:
    agent = train_support(tmp_path, "behaviour-cloning")
    turns = read_turns(tmp_path / "table.jsonl")
    names = agent.info["encoding"]["actions"]

    def words(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[text.count(letter) for letter in "abcdefghijklmnop"] for text in texts], np.float32)

    found = seqel.evaluate(agent, lambda: RetrievedCustomers(turns, words), 20)
    assert found.mean == pytest.approx(1.0)  # each dialogue has the outcome 1, and cloning gets all of them
    with pytest.raises(SpaceError, match="expected the agent's actions"):
        seqel.evaluate(agent, lambda: RetrievedCustomers(turns, words, actions=names[::-1]), 2)
