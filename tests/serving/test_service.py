"""The service opens, closes and isolates sessions, swaps agents, and decides without sessions as with them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.datasets.encoding import Encoding
from seqel.datasets.schema import Schema
from seqel.errors import ConfigError
from seqel.monitoring.log import read_log
from seqel.monitoring.metrics import ServiceMetrics
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.errors import Gone, InvalidRequest, NotFound, TimedOut, Unavailable
from seqel.serving.loading import load_served
from seqel.serving.observing import DecisionLog
from seqel.serving.service import Service
from seqel.serving.sessions.memory import MemoryStore
from seqel.spaces import ActionSpec
from support import network
from support_serving import expected, histories, make_service, served


def other_agent() -> Agent:
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(-0.7)
    return Agent(net)


def run(service: Service, body: Callable[[], Awaitable[Any]]) -> Any:
    async def work() -> Any:
        service.start()
        try:
            return await body()
        finally:
            await service.stop()

    return asyncio.run(work())


async def act(service: Service, session: str, seen: Any, reward: float | None = None, **more: Any) -> dict[str, Any]:
    given = {"observation": seen.tolist() if isinstance(seen, np.ndarray) else seen} | more
    if reward is not None:
        given["reward"] = float(reward)
    owner = given.pop("owner", "")
    found: dict[str, Any] = orjson.loads(await service.act(session, given, owner))
    return found


def test_a_session_from_open_to_close(pair: Any) -> None:
    seen, rewards = histories(1, 4)
    service = make_service(TorchBackend(pair.agent, 4), agent=pair.agent)

    async def body() -> None:
        made = await service.create("anna")
        assert made["session"] == "anna" and made["agent"] == "a" and made["step"] == 0
        actions, scores = expected(pair.agent, seen, rewards)
        for step in range(4):
            found = await act(service, "anna", seen[0, step], rewards[0, step], step=step)
            assert (found["session"], found["step"], found["action"]) == ("anna", step, actions[0, step])
            np.testing.assert_allclose(found["scores"], scores[0, step], rtol=1e-4, atol=1e-5)
        told = await service.feedback("anna", 3, 0.5)
        assert told["will_be_read"] is True
        assert (await service.feedback("anna", 1, 0.5))["will_be_read"] is False
        found = await service.close("anna")
        assert found["steps"] == 4
        assert [one["action"] for one in found["history"]] == actions[0].tolist()
        np.testing.assert_allclose([one["reward"] for one in found["history"]], [*rewards[0, 1:], 0.5])
        np.testing.assert_allclose([one["observation"]["observation"] for one in found["history"]], seen[0])
        with pytest.raises(Gone, match="'anna' was closed"):
            await act(service, "anna", seen[0, 0])

    run(service, body)


def test_a_reported_reward_is_read_like_one_that_is_sent(pair: Any) -> None:
    seen, rewards = histories(1, 6)
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        for name in ("sent", "reported"):
            await service.create(name)
        for step in range(6):
            if step:
                await service.feedback("reported", step - 1, float(rewards[0, step]))
            sent = await act(service, "sent", seen[0, step], rewards[0, step])
            reported = await act(service, "reported", seen[0, step])
            assert sent["scores"] == pytest.approx(reported["scores"], rel=1e-6)

    run(service, body)


def test_a_request_with_its_history_is_decided_like_a_session(pair: Any) -> None:
    steps = 30  # more than the agent looks back (9)
    seen, rewards = histories(1, steps)
    service = make_service(TorchBackend(pair.agent, 2))

    async def body() -> None:
        actions, scores = expected(pair.agent, seen, rewards)
        for now in (0, 1, 5, steps - 1):
            history = [
                {
                    "observation": seen[0, step].tolist(),
                    "action": int(actions[0, step]),
                    "reward": float(rewards[0, step + 1]),
                }
                for step in range(now)
            ]
            answer = await service.act_once({"history": history, "observation": seen[0, now].tolist()})
            found = orjson.loads(answer)
            assert found["step"] == now and found["action"] == actions[0, now]
            np.testing.assert_allclose(found["scores"], scores[0, now], rtol=1e-4, atol=1e-5)
        assert len(service.agent().batcher.slots) == 0  # nothing of it is kept

    run(service, body)


def test_many_steps_in_one_request(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4), requests=5)
    seen = [0.1, 0.2, 0.3]

    async def body() -> None:
        wrong: Any
        await service.create("one")
        await service.create("two")
        found = await service.act_many(
            [
                {"session": "one", "observation": seen},
                {"session": "unknown", "observation": seen},
                {"session": "two", "observation": "text"},
                {"observation": seen},
                7,
            ]
        )
        kinds = [type(one).__name__ for one in found]
        assert kinds == ["bytes", "NotFound", "InvalidRequest", "bytes", "InvalidRequest"]
        for wrong in ([], "text", [{}] * 6):
            with pytest.raises(InvalidRequest, match="list of 1 to 5"):
                await service.act_many(wrong)

    run(service, body)


def test_sessions_of_another_owner_are_not_found(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4), agent=pair.agent)

    async def body() -> None:
        await service.create("one", owner="anna")
        await service.create("one", owner="bert")
        await act(service, "one", [1.0, 0.0, 0.0], owner="anna")
        assert (await service.timeline("one", "anna"))["steps"] == 1
        assert (await service.timeline("one", "bert"))["steps"] == 0
        for call in (service.timeline, service.close, service.influence):
            with pytest.raises(NotFound):
                await call("one", "carl")
        with pytest.raises(NotFound):
            await service.feedback("one", 0, 1.0, "carl")
        with pytest.raises(NotFound):
            await act(service, "one", [1.0, 0.0, 0.0])
        assert (await service.timeline("one", "anna"))["steps"] == 1

    run(service, body)


@pytest.mark.parametrize(
    "request_",
    [
        {"observation": None}, {"observation": [1.0, 2.0]}, {"observation": [1.0, 2.0, "x"]}, {"observation": {"a": 1}},
        {"observation": [1.0, 2.0, None]}, {"observation": [[1.0, 2.0, 3.0]]}, {},
        {"observation": [0.0] * 3, "reward": "1"}, {"observation": [0.0] * 3, "reward": True},
        {"observation": [0.0] * 3, "reward": 1e39}, {"observation": [0.0] * 3, "step": -1},
        {"observation": [0.0] * 3, "step": 0.5}, {"observation": [0.0] * 3, "mask": [1, 0]},
        {"observation": [0.0] * 3, "mask": [0, 0, 0]}, {"observation": [0.0] * 3, "mask": "all"},
        {"observation": [0.0] * 3, "candidates": []}, {"observation": [0.0] * 3, "candidates": [3]},
        {"observation": [0.0] * 3, "candidates": [0], "mask": [1, 1, 1]}, {"observation": [0.0] * 3, "candidates": [[0, 1]]},
        {"observation": [0.0] * 3, "previous_action": 3}, {"observation": [0.0] * 3, "previous_action": "left"},
        {"observation": [0.0] * 3, "previous_action": 1.0}, {"observation": [0.0] * 3, "previous_action": [0, 0]},
        {"observation": [1e39, 0.0, 0.0]}, {"observation": [float("nan"), 0.0, 0.0]},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_changes_nothing(pair: Any, request_: dict[str, Any]) -> None:
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        await service.create("one")
        with pytest.raises(InvalidRequest):
            await service.act("one", request_)
        assert (await service.timeline("one"))["steps"] == 0

    run(service, body)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 129, "ü", "a\n", "../a"])
def test_a_session_has_a_plain_name(pair: Any, name: str) -> None:
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        with pytest.raises(InvalidRequest, match="session"):
            await service.create(name)

    run(service, body)


def test_candidates_limit_the_decision(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        for number in range(3):
            await service.create(str(number))
            found = await act(service, str(number), [0.5, 0.5, 0.5], candidates=[number])
            assert found["action"] == number
            assert [score is None for score in found["scores"]] == [one != number for one in range(3)]

    run(service, body)


# -- agents ------------------------------------------------------------------------------------------------------------


def test_open_sessions_keep_their_agent(pair: Any) -> None:
    seen, rewards = histories(1, 6)
    new = other_agent()
    service = make_service(TorchBackend(pair.agent, 4), on_swap="keep")

    async def body() -> None:
        service.add(served(service, TorchBackend(new, 4), "b"))
        await service.create("old")
        for step in range(3):
            await act(service, "old", seen[0, step], rewards[0, step])
        service.activate("b")
        await service.create("new")
        of_old = [await act(service, "old", seen[0, step], rewards[0, step]) for step in range(3, 6)]
        of_new = [await act(service, "new", seen[0, step], rewards[0, step]) for step in range(3)]
        assert {one["agent"] for one in of_old} == {"a"} and {one["agent"] for one in of_new} == {"b"}
        np.testing.assert_allclose(
            [one["scores"] for one in of_old], expected(pair.agent, seen, rewards)[1][0, 3:], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            [one["scores"] for one in of_new], expected(new, seen, rewards)[1][0, :3], rtol=1e-4, atol=1e-5
        )
        assert service.rollback() == "a"
        assert (await service.create("third"))["agent"] == "a"
        with pytest.raises(InvalidRequest, match="is active"):
            await service.remove("a")
        await service.remove("b")  # its session moves
        assert (await act(service, "new", seen[0, 3], rewards[0, 3]))["agent"] == "a"

    run(service, body)


def test_open_sessions_move_to_the_new_agent(pair: Any) -> None:
    """The new agent reads the whole history, with the actions that the old one took."""
    seen, rewards = histories(1, 6)
    new = other_agent()
    service = make_service(TorchBackend(pair.agent, 4), on_swap="rebuild")

    async def body() -> None:
        service.add(served(service, TorchBackend(new, 4), "b"))
        await service.create("one")
        taken = [(await act(service, "one", seen[0, step], rewards[0, step]))["action"] for step in range(5)]
        service.activate("b")
        found = await act(service, "one", seen[0, 5], rewards[0, 5])
        assert found["agent"] == "b"
        state = None
        for step in range(6):
            decision, state = new.act(
                seen[:, step], state, reward=rewards[:, step],
                previous_action=np.array([taken[step - 1]]) if step else None,
            )  # fmt: skip
        np.testing.assert_allclose(found["scores"], decision.q[0], rtol=1e-4, atol=1e-5)
        service.rollback()
        assert (await act(service, "one", seen[0, 0], 0.0))["agent"] == "a"

    run(service, body)


def test_twenty_swaps_under_load_lose_nothing(pair: Any) -> None:
    """Two copies of one agent change places twenty times: no session is lost, and every decision is right."""
    sessions, steps = 6, 40
    seen, rewards = histories(sessions, steps)
    service = make_service(TorchBackend(pair.agent, 3), on_swap="rebuild")

    async def body() -> None:
        service.add(served(service, TorchBackend(Agent(pair.agent.network), 3), "b"))
        actions = np.zeros((sessions, steps), int)

        async def play(session: int) -> None:
            await service.create(str(session))
            for step in range(steps):
                found = await act(service, str(session), seen[session, step], rewards[session, step], step=step)
                actions[session, step] = found["action"]

        async def swap() -> None:
            for number in range(20):
                await asyncio.sleep(0.02)
                service.activate("ba"[number % 2])

        await asyncio.gather(swap(), *map(play, range(sessions)))
        np.testing.assert_array_equal(actions, expected(pair.agent, seen, rewards)[0])

    run(service, body)


def test_sessions_cannot_move_to_an_agent_that_observes_otherwise(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4), on_swap="rebuild")
    with pytest.raises(ConfigError, match="expected the observations and actions of a"):
        service.add(served(service, TorchBackend(Agent(network(actions=4)), 4), "b"))
    make_service(TorchBackend(pair.agent, 4), on_swap="keep").add(
        served(service, TorchBackend(Agent(network(actions=4)), 4), "b")
    )


def test_unknown_agents_are_named(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        with pytest.raises(NotFound, match="no agent 'z'; there are a"):
            await service.create("one", "z")
        with pytest.raises(NotFound, match="no agent was active"):
            service.rollback()
        with pytest.raises(NotFound):
            service.activate("z")

    run(service, body)


def test_a_stopped_service_refuses(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        await service.create("one")
        await service.stop()
        with pytest.raises(Unavailable, match="stopping"):
            await act(service, "one", [0.0] * 3)
        with pytest.raises(Unavailable, match="stopping"):
            await service.create("two")

    run(service, body)


def test_a_late_answer_is_given_when_the_client_asks_again(pair: Any) -> None:
    class Slow(TorchBackend):
        def step(self, slots: Any, inputs: Any) -> Any:
            time.sleep(0.2)
            return super().step(slots, inputs)

    service = make_service(Slow(pair.agent, 4), timeout=0.1)

    async def body() -> None:
        await service.create("one")
        with pytest.raises(TimedOut, match="same step number"):
            await act(service, "one", [0.1, 0.2, 0.3], step=0)
        await asyncio.sleep(0.3)
        found = await act(service, "one", [9.0, 9.0, 9.0], step=0)
        assert found["step"] == 0
        assert (await service.timeline("one"))["steps"] == 1

    run(service, body)


# -- tables, rankings, explanations ------------------------------------------------------------------------------------


@pytest.fixture
def table_agent() -> Agent:
    encoding = Encoding(
        Schema(session="id", action="reply", reward="paid", observation={"mood": "category", "age": "number"}),
        ("stay", "go", "wait"), {"mood": ("bad", "good")}, {}, ("age",),
    )  # fmt: skip
    torch.manual_seed(0)
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4), encoding.observation, encoding.action)
    return Agent(net, {"encoding": encoding.to_json()})


def test_an_agent_of_a_table_reads_columns_and_answers_with_names(table_agent: Agent) -> None:
    service = make_service(TorchBackend(table_agent, 4), agent=table_agent)

    async def body() -> None:
        await service.create("one")
        found = await act(service, "one", {"mood": "good", "age": None, "ignored": 3})
        assert found["name"] == {"reply": ("stay", "go", "wait")[found["action"]]}
        await act(service, "one", {"mood": "bad", "age": 31}, previous_action="go")
        await act(service, "one", {"mood": "bad", "age": 31}, previous_action={"reply": "wait"}, candidates=["stay"])
        with pytest.raises(InvalidRequest, match=r"expected an object with the columns \['mood', 'age'\], got list"):
            await act(service, "one", [1, 2])
        with pytest.raises(InvalidRequest, match="previous_action"):
            await act(service, "one", {"mood": "bad", "age": 31}, previous_action="run")
        assert service.agent().describe()["action_names"] == {"reply": ["stay", "go", "wait"]}

    run(service, body)


def test_logged_decisions_are_read_for_reports(table_agent: Agent, tmp_path: Path) -> None:
    service = make_service(TorchBackend(table_agent, 4), agent=table_agent)
    log = service.agent().batcher.observer.log = DecisionLog(tmp_path / "log.jsonl")  # type: ignore[attr-defined]

    async def body() -> list[int]:
        await service.create("one")
        rows = [{"mood": "good", "age": 30}, {"mood": "bad", "age": None}, {"mood": "bad", "age": 31.5}]
        return [(await act(service, "one", row, step / 2))["action"] for step, row in enumerate(rows)]

    actions = run(service, body)
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]  # before it is closed
    log.close()
    assert [line["action"] for line in written] == actions
    assert [line["reward"] for line in written] == [None, 0.5, 1.0]
    assert written[1]["observation"] == {"mood": "bad", "age": None}
    found = read_log([tmp_path / "log.jsonl"], table_agent)
    assert len(found.rows) == 3


def test_logged_and_watched_actions_are_those_that_the_agent_gives(tmp_path: Path) -> None:
    """Actions 3 to 5: what the service counts from 0 is not what references and clients know."""
    known = network(ActionSpec((3,), (0,)))
    shifted = QNetwork(known.config, known.observation_spec, ActionSpec((3,), (3,)))
    shifted.load_state_dict(known.state_dict())
    Agent(shifted).save(tmp_path / "shifted")
    service = Service(MemoryStore(10, 60.0), ServiceMetrics())
    watched: list[int] = []
    served = load_served(tmp_path / "shifted", service, backend="torch", log=DecisionLog(tmp_path / "log.jsonl"))
    observer: Any = served.batcher.observer

    def update(seen: Any, actions: Any, best: Any, sessions: int) -> tuple[()]:
        watched.extend(actions.ravel().tolist())
        return ()

    observer.drift = SimpleNamespace(update=update, psi={})
    service.add(served)

    async def body() -> list[int]:
        await service.create("one")
        seen = np.random.default_rng(0).standard_normal((6, 3))
        return [(await act(service, "one", row.tolist()))["action"] for row in seen]

    actions = run(service, body)
    assert min(actions) >= 3 and len(set(actions)) > 1
    assert watched == actions
    assert [json.loads(line)["action"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == actions


def test_texts_that_a_model_reads_do_not_hold_up_other_requests(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service(TorchBackend(pair.agent, 4))
    reading = service.agent()
    genuine = reading.observation

    def slow(value: Any) -> Any:
        time.sleep(0.3)
        return genuine(value)

    async def body() -> None:
        for name in ("one", "two"):
            await service.create(name)
        monkeypatch.setattr(reading, "_slow", True)
        monkeypatch.setattr(reading, "observation", slow)
        waiting = asyncio.create_task(act(service, "one", [0.0] * 3))
        await asyncio.sleep(0)
        began = time.monotonic()
        await service.timeline("two")
        assert time.monotonic() - began < 0.2
        assert (await waiting)["step"] == 0

    run(service, body)


def test_influence_names_the_steps_that_mattered(pair: Any) -> None:
    seen, rewards = histories(1, 5)
    service = make_service(TorchBackend(pair.agent, 4), agent=pair.agent)

    async def body() -> None:
        await service.create("one")
        with pytest.raises(InvalidRequest, match="a session that has taken a step"):
            await service.influence("one")
        await act(service, "one", seen[0, 0], rewards[0, 0])
        assert (await service.influence("one"))["influence"] == []
        for step in range(1, 5):
            await act(service, "one", seen[0, step], rewards[0, step])
        found = (await service.influence("one"))["influence"]
        assert [one["step"] for one in found] == [0, 1, 2, 3]
        assert all(one["change"] > 0 for one in found)

    run(service, body)


def test_an_exported_file_cannot_rank_or_explain(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 4))

    async def body() -> None:
        with pytest.raises(InvalidRequest, match="exported file"):
            service.rank({"history": []})
        await service.create("one")
        with pytest.raises(InvalidRequest, match="exported file"):
            await service.influence("one")

    run(service, body)


def test_expired_sessions_are_counted(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqel.serving import service as module

    monkeypatch.setattr(module, "SWEEP", 0.05)
    service = make_service(TorchBackend(pair.agent, 4), store=MemoryStore(10, 0.1))

    async def body() -> None:
        await service.create("one")
        await asyncio.sleep(0.4)
        assert await service.sessions() == 0
        assert b'seqel_sessions_closed_total{reason="expired"} 1.0' in service.metrics.render()
        with pytest.raises(Gone, match="has expired"):
            await act(service, "one", [0.0] * 3)

    run(service, body)
