"""Conversations: the same decisions as the agent's own, a record that training reads, and agents that cannot converse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import seqel
from seqel.agents.agent import Agent
from seqel.datasets.dialogues import convert_dialogues, rows_of
from seqel.deployment import Conversation
from seqel.errors import ConfigError
from support_dialogues import train_support


@pytest.fixture(scope="module", params=["behaviour-cloning", "offline-cql"])
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Agent:
    return train_support(tmp_path_factory.mktemp("chat"), request.param)


def test_it_answers_as_the_agent_does_with_its_history(agent: Agent) -> None:
    conversation, state = Conversation(agent), None
    for text in ("I lost my card", "in Rome", "", "hello 😀"):
        answer = conversation.respond(text)
        decision, state = agent.act({"text/said": [text]}, state, reward=0.0)
        names = conversation.encoding.actions
        assert answer.action == names[int(decision.action[0])] == answer.ranking[0][0]
        assert sorted(name for name, _ in answer.ranking) == sorted(names)
        scores = dict(answer.ranking)
        if answer.scores == "probability":
            assert sum(scores.values()) == pytest.approx(1.0)
            chances = np.exp(decision.q[0] - np.logaddexp.reduce(decision.q[0]))
        else:
            chances = decision.q[0]
        assert [scores[name] for name in names] == pytest.approx(chances.tolist(), abs=1e-6)
        assert len(answer.to_json(2)["ranking"]) == 2 and answer.score == answer.ranking[0][1]


def test_what_was_learned_is_said(agent: Agent) -> None:
    conversation = Conversation(agent)
    assert conversation.respond("I lost my card").action == "ask"
    assert conversation.respond("in Rome").action == "block the card"
    assert Conversation(agent).respond("what is my balance").action == "tell the balance"


def test_the_record_is_a_dialogue(agent: Agent, tmp_path: Path) -> None:
    conversation = Conversation(agent)
    first = conversation.respond("I lost my card")
    conversation.add_reply("Where?")
    second = conversation.respond("in Rome")
    found = conversation.record("a", "good")
    assert [row["action"] for row in rows_of(found, "", {"good": 1.0})] == [first.action, second.action]
    assert found["turns"][1]["text"] == "Where?" and "outcome" not in conversation.record("a")
    (tmp_path / "log.jsonl").write_text(json.dumps(found) + "\n")
    assert convert_dialogues([tmp_path / "log.jsonl"], tmp_path / "table.jsonl", {"good": 1.0}).rows == 2
    assert conversation.summary().splitlines()[:2] == ["customer: I lost my card", f"agent: [{first.action}] Where?"]


def test_agents_that_do_not_converse_are_refused(tmp_path: Path) -> None:
    small = {"network.width": 16, "network.layers": 1, "threads": 1, "device": "cpu"}
    other = seqel.train("CartPole-v1", steps=40, out=tmp_path / "run", settings=small, progress=False)
    with pytest.raises(ConfigError, match="expected an agent that was trained on a table of dialogues"):
        Conversation(other)


def test_words_need_an_action(agent: Agent) -> None:
    with pytest.raises(ConfigError, match="expected a message first"):
        Conversation(agent).add_reply("hello")
