"""The watcher: numbers as in the environment, in pieces of any size, alerts with causes, and a state that continues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.memory import PassiveTMaze
from seqel.tasks.opinion.monitoring import LONGEST, OpinionMonitoring
from seqel.tasks.opinion.stream import draw_stream
from seqel.watching.calibration import numbers_of
from seqel.watching.messages import Message
from seqel.watching.watcher import Watcher
from support_opinion import opinions
from support_watching import COMPANIES, SETTING, START, make_agent, make_watcher, messages


def in_pieces(some: list[Message], size: int) -> Iterator[list[Message]]:
    return (some[start : start + size] for start in range(0, len(some), size))


def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """A list to which each message's company and number are added."""
    found: list[tuple[str, float]] = []
    judge = Watcher._judge

    def keep(self: Watcher, message: Message, number: float, place: Any) -> Any:
        found.append((message.company, number))
        return judge(self, message, number, place)

    monkeypatch.setattr(Watcher, "_judge", keep)
    return found


def test_numbers_are_those_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    stream = draw_stream(rng, SETTING, 30.0, 10.0)
    # companies in the order in which they first occur, so that they have the same numbers; and no wait before the first one
    order = list(dict.fromkeys(stream.company.tolist()))
    assert len(order) == COMPANIES
    company = np.array([order.index(one) for one in stream.company.tolist()])
    stream = type(stream)(stream.time - stream.time[0], company, stream.sentiment, stream.onset[order], stream.related)
    expected = numbers_of(make_agent(), opinions(), "test", SETTING, [stream], 30.0)[0]
    env = OpinionMonitoring(opinions(), "test", SETTING)
    seen, _ = env.reset(seed=0, options={"stream": stream})
    some = []
    for time, one in zip(stream.time, company, strict=True):
        some.append(Message(START + time, str(one), seen["text"], group="all"))
        seen, *_ = env.step(0)
    watcher = make_watcher()
    found = heard(monkeypatch)
    for piece in in_pieces(some, 7):
        watcher.read(piece)
    np.testing.assert_allclose([number for _, number in found], expected, atol=2e-4)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_pieces_of_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    some = messages(300, 23)
    whole = make_watcher()
    found = heard(monkeypatch)
    whole.read(some)
    expected = list(found)
    found.clear()
    one = make_watcher()
    for piece in in_pieces(some, size):
        one.read(piece)
    for name in {message.company for message in some}:
        numbers = [[number for company, number in which if company == name] for which in (found, expected)]
        np.testing.assert_allclose(numbers[0], numbers[1], atol=1e-5)
    assert one.companies.busiest(5) == whole.companies.busiest(5)


def test_a_company_without_a_group_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    some = messages(120, 5)
    watcher = make_watcher()
    found = heard(monkeypatch)
    watcher.read(some)
    expected = [number for company, number in found if company == "Firm 3"]
    found.clear()
    make_watcher().read([message for message in some if message.company == "Firm 3"])
    np.testing.assert_allclose([number for _, number in found], expected, atol=1e-5)


def test_single_companies_have_their_own_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = make_watcher()
    watcher.calibration = replace(watcher.calibration, threshold=1.0, alone=2.0)
    monkeypatch.setattr(watcher, "_step", lambda _, places, *rest: np.full(len(places), 1.5))
    some = [Message(START, "Acme", "a"), Message(START, "Bolt", "b", group="metal")]
    assert [(alert.company, alert.threshold) for alert in watcher.read(some)] == [("Bolt", 1.0)]
    watcher.calibration = replace(watcher.calibration, threshold=2.0, alone=1.0)
    later = [replace(message, time=START + 30.0) for message in some]
    assert [(alert.company, alert.threshold) for alert in watcher.read(later)] == [("Acme", 1.0)]


def test_alerts_name_what_raised_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = make_watcher(threshold=1.0, cooldown=2.0)
    scores = iter([0.2, 0.1, 0.9, 0.8, 1.5, 1.6, 1.7, 0.4, 1.2])
    monkeypatch.setattr(watcher, "_step", lambda *_: np.array([next(scores)]))
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    some = [Message(START + time, "Acme", f"text {place}") for place, time in enumerate(times)]
    alerts = watcher.read(some)
    assert [alert.time - START for alert in alerts] == [4.0, 6.0, 8.0]  # not at 5: no alert for two hours
    first = alerts[0]
    assert [text for *_, text in first.causes] == ["text 0", "text 2", "text 4"] and first.score == 1.5
    np.testing.assert_allclose([raised for _, raised, _ in first.causes], [0.2, 0.8, 0.7])
    assert first.to_json()["messages"][1] == {"time": "2025-11-24T18:00:00Z", "raised": 0.8, "text": "text 2"}
    assert list(watcher.alerts) == alerts


def test_the_agent_does_not_observe_its_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is not silent after a false alarm, and numbers are those for which the threshold was set."""
    some, found = messages(60, 24), []
    for threshold in (-np.inf, np.inf):
        numbers = heard(monkeypatch)
        watcher = make_watcher(threshold=threshold, cooldown=1.0)
        alerts = watcher.read(some)
        found.append([number for _, number in numbers])
        assert bool(alerts) == (threshold == -np.inf)
        monkeypatch.undo()
    assert found[0] == found[1] and len(found[0]) == 60


def test_when_the_last_alert_was() -> None:
    watcher = make_watcher(threshold=-np.inf, cooldown=10.0)
    watcher.read([Message(START, "Acme", "a"), Message(START + 1.0, "Bolt", "b"), Message(START + 2.0, "Acme", "c")])
    assert watcher.rows.alerted[:2, 0].tolist() == [START, START + 1.0]
    watcher.read([Message(START + 10.0, "Acme", "d")])
    assert watcher.rows.alerted[0, 0] == START + 10.0


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_it_continues_from_its_state(trunk: str, tmp_path: Any) -> None:
    from seqel.stored_trees import load_tree, save_tree

    some = messages(400, 30)
    whole = make_watcher(threshold=-1.6 if trunk == "transformer" else -0.2, cooldown=1.0, trunk=trunk)
    expected = [alert for piece in in_pieces(some, 50) for alert in whole.read(piece)]
    first = make_watcher(threshold=-1.6 if trunk == "transformer" else -0.2, cooldown=1.0, trunk=trunk)
    found = [alert for piece in in_pieces(some[:200], 50) for alert in first.read(piece)]
    save_tree(tmp_path / "state", first.state())
    second = make_watcher(threshold=-1.6 if trunk == "transformer" else -0.2, cooldown=1.0, trunk=trunk)
    second.restore(load_tree(tmp_path / "state"))
    found += [alert for piece in in_pieces(some[200:], 50) for alert in second.read(piece)]
    assert found == expected and len(found) > 20 and second.companies.busiest(40) == whole.companies.busiest(40)
    assert list(second.alerts) == list(whole.alerts)


def test_memory_does_not_grow_with_messages() -> None:
    from seqel.trees import flatten

    def size() -> int:
        structure, tensors = flatten(watcher.state())
        return sum(one.nbytes for one in tensors.values()) + len(str(structure)) // 1_000

    watcher = make_watcher(threshold=-np.inf, cooldown=0.0)
    sizes = []
    for round_ in range(3):
        for piece in in_pieces(messages(1_200, 40, seed=round_), 200):
            watcher.read([Message(one.time + 50.0 * round_, one.company, one.text) for one in piece])
        sizes.append(size())
    assert sizes[2] <= sizes[0] * 1.01


def test_strange_texts() -> None:
    watcher = make_watcher(threshold=-np.inf)
    texts = ["", "x" * 100_000, "股价下跌了", "😀" * 600, "\x00\x1b[31m", "NaN"]
    alerts = watcher.read([Message(START, f"Firm {place}", text) for place, text in enumerate(texts)])
    assert len(alerts) == 6 and all(np.isfinite(alert.score) for alert in alerts)
    assert max(len(alert.causes[0][2]) for alert in alerts) == LONGEST and watcher.read([]) == []


def test_another_agent_is_refused() -> None:
    env = PassiveTMaze(length=3)
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    agent = Agent(QNetwork(NetworkConfig(width=16, layers=1, heads=2, context=4), spec, action))
    with pytest.raises(ConfigError, match="expected an agent that was trained on seqel/OpinionMonitoring-v0"):
        Watcher(agent, make_watcher().calibration)


def test_an_agent_with_rules_is_refused() -> None:
    """Alerts are decided by a threshold, so rules would not be applied."""
    watcher = make_watcher()
    watcher.agent.set_shield("fallback = 0\n[[rule]]\nnever = 1\n")
    with pytest.raises(ConfigError, match="without a shield"):
        Watcher(watcher.agent, watcher.calibration)
