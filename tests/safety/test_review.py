"""The review queue: cases keep their history, people's decisions are added, and the export trains."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import seqel
from seqel.agents.agent import Agent
from seqel.cli.main import main
from seqel.datasets.dataset import load
from seqel.datasets.schema import Schema
from seqel.errors import ConfigError, DataError
from seqel.monitoring.metrics import ServiceMetrics
from seqel.safety.abstention import Abstention
from seqel.safety.review import ReviewQueueFile, read_review_queue
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.batching import Batcher
from seqel.serving.observing import Observing
from seqel.serving.records import StepFormat
from seqel.serving.reviewing import Reviewing
from seqel.serving.served import Served
from seqel.serving.service import Service
from seqel.serving.sessions.memory import MemoryStore
from seqel.spaces import ActionSpec
from support import network


def step(
    session: str,
    number: int,
    abstain: bool = False,
    previous: str | None = None,
    reward: float | None = None,
    action: str = "wait",
) -> dict[str, Any]:
    return {
        "kind": "step", "agent": "a", "session": session, "step": number, "observation": {"x": number, "y": [1, 2]},
        "previous_action": previous, "reward": reward, "action": action, "abstain": abstain, "uncertainty": -0.1,
        "best": [["wait", 1.5]],
    }  # fmt: skip


def queue(path: Path) -> Path:
    """Session s: at step 1 it abstains, and a person acts at once ("go"); at step 3 the agent's action is taken anyway."""
    file = ReviewQueueFile(path)
    file.write([{"kind": "agent", "agent": "a", "actions": [["wait", "go"]], "schema": None}])
    file.write(
        [step("s", 0), step("t", 0, abstain=True), step("s", 1, True, "wait", 1.0), step("s", 2, False, "go", 2.0)]
    )
    file.write(
        [step("s", 3, True, "wait", 3.0), step("s", 4, False, "wait", 4.0), step("s", 0), step("s", 1, True, "go", 9.0)]
    )
    file.close()
    return path


def test_cases_have_their_history_and_names_may_be_used_again(tmp_path: Path) -> None:
    found = read_review_queue(queue(tmp_path / "q.jsonl"))
    assert [(case.step["session"], case.step["step"], len(case.steps)) for case in found.cases] == [
        ("t", 0, 1), ("s", 1, 2), ("s", 3, 4), ("s", 1, 2),
    ]  # fmt: skip
    assert len(found.sessions) == 3 and len(found.open) == 4


def test_decisions_are_added_and_the_last_one_counts(tmp_path: Path) -> None:
    path = queue(tmp_path / "q.jsonl")
    before = path.read_bytes()
    found = read_review_queue(path)
    found.decide(found.case(2), "wait", "anna")
    found.decide(found.case(2), "go", "bert")
    assert path.read_bytes().startswith(before)
    again = read_review_queue(path)
    review = again.case(2).review
    assert review is not None and (review["action"], review["by"]) == ("go", "bert") and len(again.open) == 3
    with pytest.raises(ConfigError, match=r"unknown action 'gone'; did you mean 'go'\?"):
        found.decide(found.case(1), "gone")
    with pytest.raises(ConfigError, match="from 1 to 4"):
        found.case(5)


def test_the_export_worked_by_hand(tmp_path: Path) -> None:
    path = queue(tmp_path / "q.jsonl")
    found = read_review_queue(path)
    for case, action in ((2, "go"), (3, "go"), (4, "go")):
        found.decide(found.case(case), action)
    sessions = read_review_queue(path).export(reward=-7.0)
    plain = {one.name: [(seen["x"], action, reward) for seen, action, reward in one.steps] for one in sessions}
    assert plain == {
        # the person's action at step 1 was taken; that at step 3 was not, so the session ends there
        "s#0@3": [(0, "wait", 1.0), (1, "go", 2.0), (2, "wait", 3.0), (3, "go", -7.0)],
        "s#2": [(0, "go", 9.0), (1, "go", -7.0)],
    }


def test_a_line_that_a_crash_cut_off_is_skipped_and_later_lines_are_not(tmp_path: Path) -> None:
    path = queue(tmp_path / "q.jsonl")
    path.write_bytes(path.read_bytes() + b'{"kind": "st')
    file = ReviewQueueFile(path)
    file.write([step("u", 0, True)])
    found = read_review_queue(path)
    assert found.skipped == 1 and len(found.cases) == 5
    path.write_bytes(
        path.read_bytes() + b'{"kind":"review","case":99,"action":"go"}\n[1]\n{"kind":"step","agent":"zz"}\n'
    )
    assert read_review_queue(path).skipped == 4
    with pytest.raises(DataError, match="cannot be read"):
        read_review_queue(tmp_path / "none")


def test_the_commands_list_decide_ask_and_export_for_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(queue(tmp_path / "q.jsonl"))
    assert main(["review", "list", path, "--json"]) == 0
    assert [one["case"] for one in json.loads(capsys.readouterr().out)["cases"]] == [1, 2, 3, 4]
    assert main(["review", path, "--case", "2", "--action", "go", "--by", "anna"]) == 0
    assert "4 cases, 1 decided" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("\nleave\ngo\n"))  # skips case 1, an unknown action, decides case 3
    assert main(["review", path, "--by", "bert"]) == 0
    told = capsys.readouterr()
    assert "the agent would take wait (scores: wait 1.5)" in told.out and "unknown action 'leave'" in told.err
    assert "4 cases, 2 decided" in told.out
    out = tmp_path / "reviewed.jsonl"
    assert main(["review", "export", path, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "sessions": 1, "steps": 4}
    data = load(out, out.with_suffix(".toml"))
    assert data.actions == ["wait", "go"] and data.buffer.actions()[:, 0].tolist() == [0, 1, 0, 1]
    assert main(["data", "check", str(out), "--schema", str(out.with_suffix(".toml"))]) == 0
    assert main(["review", "export", path]) == 2 and main(["review", "x", path]) == 2


def served_with_queue(agent: Agent, file: ReviewQueueFile) -> Service:
    backend = TorchBackend(agent, 4)
    service = Service(MemoryStore(100, 60.0), ServiceMetrics())
    form = StepFormat(backend.observation_spec, backend.action_spec)
    observer = Observing(service.metrics, form, review=Reviewing(file, "v1", backend))
    service.add(Served("v1", backend, Batcher("v1", backend, service.store, observer), agent))
    return service


def test_what_a_service_abstains_from_is_reviewed_and_trained_on(tmp_path: Path) -> None:
    """From a table to an agent, its service, the queue, a person, and back to a table with the same columns."""
    rng = np.random.default_rng(0)
    lines = [
        {"who": f"w{n}", "n": t, "price": float(rng.integers(9)), "mood": ("angry", "calm")[int(rng.integers(2))],
         "act": ("refund", "close", "wait")[int(rng.integers(3))], "pay": float(rng.random())}
        for n in range(12) for t in range(4)
    ]  # fmt: skip
    table = tmp_path / "log.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    schema = Schema("who", "act", "pay", {"price": "number", "mood": "category"}, order="n")
    (tmp_path / "schema.toml").write_text(schema.to_toml())
    settings = {"network.width": 16, "network.heads": 2, "network.layers": 1, "device": "cpu", "threads": 1}
    agent = seqel.train(
        data=table, schema=tmp_path / "schema.toml", steps=5, out=tmp_path / "run", settings=settings, progress=False
    )
    agent.set_abstention(Abstention(-1e9, "gap", 0.1, "share", None, 9, 0.0, 1.0, ""))  # always
    path = tmp_path / "queue.jsonl"
    service = served_with_queue(agent, ReviewQueueFile(path))

    async def body() -> None:
        await service.create("anna")
        for number in range(3):
            request: dict[str, Any] = {"observation": {"price": number, "mood": "angry"}, "reward": 0.5 * number}
            if number == 2:
                request["previous_action"] = "refund"  # a person has acted
            answer = orjson.loads(await service.act("anna", request))
            assert answer["abstain"]
        await service.stop()

    asyncio.run(body())
    found = read_review_queue(path)
    assert len(found.cases) == 3 and found.actions_of(found.case(1)) == [["close", "refund", "wait"]]
    assert found.case(3).steps[2]["previous_action"] == "refund" and found.case(3).steps[2]["reward"] == 1.0
    found.decide(found.case(2), "refund")
    assert main(["review", "export", str(path), "--out", str(tmp_path / "more.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    assert rows[1] == {"who": "anna#0", "n": 1, "price": 1, "mood": "angry", "act": "refund", "pay": 1.0}
    assert len(rows) == 3
    both = [tmp_path / "more.jsonl", table]
    assert len(load(both, tmp_path / "more.toml")) == 51, "it joins the table that the agent was trained on"


def test_episodes_of_an_evaluation_fill_a_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = Agent(network(ActionSpec((4,), (0,))), {"env": "support_safety:Desk"})
    one.save(tmp_path / "one")
    where = [str(tmp_path / "one"), "--env", "support_safety:Desk"]
    path = tmp_path / "queue.jsonl"
    assert main(["evaluate", *where, "--episodes", "4", "--review", str(path)]) == 2
    assert main(["calibrate", *where, "--error", "0.1", "--episodes", "40", "--level", "5.0"]) == 0
    assert main(["evaluate", *where, "--episodes", "20", "--review", str(path)]) == 0
    found = read_review_queue(path)
    assert len(found.sessions) == 20 and all(len(one) == 12 for one in found.sessions) and found.cases
    assert {one["previous_action"] for one in found.sessions[0][1:]} == {
        one["action"] for one in found.sessions[0][:-1]
    }
    found.decide(found.case(1), "2")
    out = tmp_path / "out.jsonl"
    assert main(["review", "export", str(path), "--out", str(out)]) == 0
    data = load(out, out.with_suffix(".toml"))
    assert data.actions == ["0", "1", "2", "3"] and data.observation.leaves[0].shape == (3,)
