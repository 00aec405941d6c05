"""A conversation with an agent that has a classifier in front: beliefs, replies, what ends it, and its record."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import seqel
from seqel.agents.agent import Agent
from seqel.datasets.dialogues import convert_dialogues, rows_of
from seqel.deployment.service_conversation import ASK, HAND_OVER, OFFER, ServiceConversation
from seqel.errors import ConfigError, SpaceError
from seqel.tasks.customers import CustomerService, Shortlist
from seqel.tasks.customers.players import Lookahead
from support_customers import classify, corpus

SMALL: dict[str, Any] = {
    "network.width": 16, "network.layers": 1, "network.context": 16, "replay.batch_tokens": 64, "threads": 1, "device": "cpu",
    "environments": 2, "learner.compile": "off",
}  # fmt: skip


def shortlist(size: int = 3) -> Shortlist:
    return Shortlist(CustomerService(corpus()), partial(Lookahead, classifier=classify), size)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Agent:
    out = tmp_path_factory.mktemp("service") / "run"
    return seqel.train(shortlist, steps=200, settings=SMALL, out=out, progress=False)


def fixed(conversation: ServiceConversation, action: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent always take this action, by its number among those of the shortlist."""
    act = conversation.agent.act

    def forced(*given: Any, **more: Any) -> Any:
        decision, state = act(*given, **more)
        decision.action[:] = action
        return decision, state

    monkeypatch.setattr(conversation.agent, "act", forced)


def test_an_answer_ends_the_conversation(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = ServiceConversation(agent, shortlist())
    fixed(talk, 0, monkeypatch)
    answer = talk.respond("card gone test 1")
    assert answer.action == "answer: card lost" and answer.action in talk.actions and talk.over
    assert answer.beliefs is not None and answer.beliefs[0][0] == "card lost" and answer.beliefs[0][1] > 0.5
    assert sum(one for _, one in answer.beliefs) <= 1.0 + 1e-9 and len(answer.beliefs) == 4  # with "out of scope"
    assert len(answer.ranking) == 6
    with pytest.raises(ConfigError, match="new one"):
        talk.respond("thanks")


def test_handing_over_ends_it_with_a_summary(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = ServiceConversation(agent, shortlist())
    fixed(talk, 5, monkeypatch)
    assert talk.respond("weather test 1").action == HAND_OVER and talk.over
    assert talk.summary() == "customer: weather test 1\nagent: [hand over]"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("1", 1.0), ("the first.", 1.0), ("2", 0.0), ("Neither", 0.0), ("card lost", 1.0)],
)
def test_replies_to_a_question_of_two(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, typed: str, expected: float
) -> None:
    """The belief follows the reply: certain of the first, of the second, or of neither."""
    talk = ServiceConversation(agent, shortlist())
    fixed(talk, 4, monkeypatch)
    first = talk.respond("card gone test 1")
    assert first.action == OFFER and talk.offered[0] == "card lost" and not talk.over
    assert talk.turns[-1]["text"] == f"{' or '.join(talk.offered)}?"
    second = talk.offered[1]
    answer = talk.respond(typed)
    assert dict(answer.beliefs or []).get("card lost", 0.0) == pytest.approx(expected, abs=1e-6)
    if typed == "2":
        name, probability = (answer.beliefs or [])[0]
        assert name == second and probability == pytest.approx(1.0)


def test_another_sentence_is_heard_as_a_change_of_mind(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = ServiceConversation(agent, shortlist())
    fixed(talk, 4, monkeypatch)
    talk.respond("card gone test 1")
    answer = talk.respond("send money test 2")
    assert (answer.beliefs or [])[0][0] == "transfer"


def test_what_the_agent_sees_is_what_it_was_trained_on(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated customer and the same sentence typed give the same observation, and so the same scores."""
    env, talk = shortlist(), ServiceConversation(agent, shortlist())
    seen, _ = env.reset(seed=3, options={"levels": (0.0, 0.0)})
    sentence = env.service._say()
    seen = env.observe({**_plain(env), "said": sentence}, first=True)
    heard: list[Any] = []
    act = agent.act

    def listening(batch: Any, *more: Any, **named: Any) -> Any:
        heard.append(batch)
        return act(batch, *more, **named)

    monkeypatch.setattr(agent, "act", listening)
    talk.respond(sentence)
    assert set(heard[0]) == set(seen)
    for name, value in seen.items():
        assert heard[0][name][0] == pytest.approx(value), name


def _plain(env: Shortlist) -> dict[str, Any]:
    return {**env.service._observe(""), "queue": [0.0]}


def test_the_record_is_read_by_training(agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk = ServiceConversation(agent, shortlist())
    fixed(talk, 3, monkeypatch)
    assert talk.respond("weather test 2").action == ASK
    fixed(talk, 1, monkeypatch)
    talk.respond("card gone test 1")
    rows = rows_of(talk.record("a", 1.0), "here", {})
    assert rows[0]["action"] == ASK and rows[-1]["reward"] == 1.0

    (tmp_path / "log.jsonl").write_text(json.dumps(talk.record("a", 1.0)))
    assert convert_dialogues([tmp_path / "log.jsonl"], tmp_path / "table.jsonl").rows == 2


def test_bad_arguments(agent: Agent) -> None:
    with pytest.raises(ConfigError, match="CustomerShortlist"):
        ServiceConversation(agent, gymnasium.make("CartPole-v1"))
    with pytest.raises(ConfigError, match="queue"):
        ServiceConversation(agent, shortlist(), queue=1.5)
    with pytest.raises(SpaceError, match="shortlist"):
        ServiceConversation(agent, shortlist(size=2))
