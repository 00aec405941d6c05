"""Agents that abstain: the uncertainty of each head, calibrated agents on disk, exported, served, in chats and reports."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.agents.uncertainty import choose_measure, uncertainty_of
from seqel.cli.main import main
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.errors import CheckpointError, ConfigError
from seqel.evaluation.abstaining import calibrate_agent, played_sessions, realised, recorded_sessions
from seqel.networks.config import NetworkConfig
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.safety.abstention import Abstention, uncertainty_of_scores
from seqel.safety.conformal import SessionDecisions
from seqel.serving.backends.onnx_agent import OnnxBackend
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.spaces import ActionSpec, FlatObservation
from seqel.types import Episode, QOutput
from support import network
from support_safety import RULES, SPEC, Desk
from support_serving import make_service

FOUR = ActionSpec((4,), (0,))


def recorded(episodes: int, seed: int = 0) -> InMemoryDataset:
    rng, found = np.random.default_rng(seed), []
    for _ in range(episodes):
        steps = int(rng.integers(1, 9))
        seen = rng.standard_normal((steps + 1, 3)).astype(np.float32)
        action, reward = rng.integers(0, 4, (steps, 1)), rng.standard_normal(steps).astype(np.float32)
        found.append(Episode(FlatObservation({"observation": seen}), action, reward, terminated=True))
    return InMemoryDataset.of(found, SPEC, FOUR)


def agent(**settings: Any) -> Agent:
    return Agent(network(FOUR, **settings))


def test_spreads_of_scores_worked_by_hand() -> None:
    scores = np.array([[[1.0, 3.0, 2.5]], [[-np.inf, 3.0, -np.inf]], [[0.0, 0.0, -np.inf]]])
    assert uncertainty_of_scores(scores, "gap").tolist() == [-0.5, -np.inf, 0.0]
    logs = np.log(np.array([[[0.5, 0.25, 0.25]], [[1.0, 1e-300, 1e-300]]]))
    found = uncertainty_of_scores(logs, "entropy")
    assert found == pytest.approx([1.5 * np.log(2), 0.0], abs=1e-12)
    assert uncertainty_of_scores(scores[1:2], "entropy").tolist() == [-np.inf]
    two = np.array([[[1.0, 0.0], [0.2, 0.0]]])
    assert uncertainty_of_scores(two, "gap").tolist() == [-0.2], "that of the least sure dimension"
    assert uncertainty_of_scores(np.zeros((2, 1, 1)), "gap").tolist() == [-np.inf] * 2


def test_the_overlap_of_distributions_equals_a_plain_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    for value in ("quantile", "c51"):
        config = NetworkConfig(value=value, bins=5)
        outputs = torch.from_numpy(rng.standard_normal((6, 1, 3, 5)).astype(np.float32))
        scores = rng.standard_normal((6, 1, 3)).astype(np.float32)
        scores[5, 0, :2] = -np.inf
        found = uncertainty_of(QOutput(torch.zeros(6, 1, 3), logits=outputs), scores, config, "overlap")
        for row in range(5):
            best, second = np.argsort(-scores[row, 0])[:2]
            if value == "quantile":
                values, weights = [outputs[row, 0, one].tolist() for one in (second, best)], [[0.2] * 5] * 2
            else:
                atoms = np.linspace(-config.value_range, config.value_range, 5)
                values = [atoms.tolist()] * 2
                weights = [outputs[row, 0, one].softmax(-1).tolist() for one in (second, best)]
            pairs = itertools.product(range(5), range(5))
            expected = sum(
                weights[0][i]
                * weights[1][j]
                * (1.0 if values[0][i] > values[1][j] else 0.5 * (values[0][i] == values[1][j]))
                for i, j in pairs
            )
            assert found[row] == pytest.approx(expected, abs=1e-6)
        assert found[5] == -np.inf


def test_the_measure_suits_the_heads() -> None:
    def chosen(measure: str = "auto", dims: int = 1, **settings: Any) -> str:
        return choose_measure(NetworkConfig(**settings), dims, measure)

    assert (
        chosen(value="scalar") == "gap"
        and chosen(value="quantile") == "overlap"
        and chosen(value="quantile", dims=2) == "gap"
    )
    assert chosen(policy_head="greedy", value="scalar") == "entropy"
    refused: tuple[dict[str, Any], ...] = (
        {"measure": "overlap", "value": "scalar"},
        {"measure": "entropy", "value": "scalar"},
        {"measure": "sum"},
    )
    for wrong in refused:
        with pytest.raises(ConfigError, match="measure"):
            chosen(**wrong)


@pytest.mark.parametrize("settings", [{}, {"value": "quantile", "bins": 7}, {"policy_head": "greedy"}])
def test_a_calibrated_agent_keeps_its_bound_on_recorded_sessions(settings: dict[str, Any]) -> None:
    """Random recorded actions are wrong in 3 of 4 steps: it must abstain from most, and the bound holds on other sessions."""
    one = agent(**settings)
    found = calibrate_agent(one, lambda: recorded_sessions(one, recorded(150).buffer), 0.2, loss="share")
    assert found.threshold is not None and found.risk <= 0.2 and 0.05 < found.coverage < 0.6 and found.sessions == 150
    again = realised(found, recorded_sessions(one, recorded(400, seed=1).buffer))
    assert again.error is not None and again.interval is not None and again.interval[0] <= 0.2
    assert again.error == pytest.approx(0.2, abs=0.05) and 0.0 < again.handed_over <= 1.0
    assert "calibrated for 0.2" in str(again)


def test_recorded_sessions_are_read_as_they_were_recorded() -> None:
    """The uncertainty of a step is that after the recorded history, whatever the agent would have done before."""
    one, data = agent(), recorded(20)
    one.set_abstention(Abstention(None, "gap", 0.1, "share", None, 0, 0.0, 1.0, ""))
    found = recorded_sessions(one, data.buffer)
    columns, numbers = data.buffer.slots.columns, data.buffer.table.numbers
    for episode in (0, 7, 19):
        slot, length, state = int(numbers[episode, 0]), int(numbers[episode, 1]), None
        for step in range(length):
            at = slot + step
            before = (
                {}
                if not step
                else {"reward": columns["reward"][at - 1 : at], "previous_action": columns["action"][at - 1]}
            )
            decision, state = one.act(columns["observation/observation"][at : at + 1], state, **before)
            assert decision.uncertainty is not None and found.wrong is not None
            assert found.uncertainty[episode][step] == pytest.approx(decision.uncertainty[0], abs=1e-5)
            assert found.wrong[episode][step] == (decision.action[0] != columns["action"][at, 0])


def test_played_sessions_are_those_of_an_evaluation() -> None:
    from seqel.evaluation.rollout import evaluate

    one = agent()
    one.set_abstention(Abstention(None, "gap", 0.1, "return", 2.0, 0, 0.0, 1.0, ""))
    found, result = played_sessions(one, Desk, 9, seed=3), evaluate(one, Desk, 9, seed=3)
    assert found.returns is not None and found.returns.tolist() == pytest.approx(result.returns)
    assert [len(uncertainty) for uncertainty in found.uncertainty] == result.lengths


def test_it_is_saved_with_the_agent_and_holds_for_its_weights_and_rules_alone(tmp_path: Path) -> None:
    one = agent()
    calibrate_agent(one, lambda: recorded_sessions(one, recorded(60).buffer), 0.2, loss="share")
    one.save(tmp_path / "one")
    loaded = Agent.load(tmp_path / "one")
    assert loaded.abstention == one.abstention and loaded.abstention is not None
    seen = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    decision, _ = loaded.act(seen)
    assert decision.abstain is not None and decision.uncertainty is not None
    assert (
        decision.abstain == (decision.uncertainty >= float(loaded.abstention.threshold or 0.0))
    ).all() and 0 < decision.abstain.sum() < 50
    with torch.no_grad():
        next(loaded.network.parameters()).add_(0.1)
    loaded.save(tmp_path / "two")
    with pytest.raises(CheckpointError, match="calibrated for other weights or rules"):
        Agent.load(tmp_path / "two")
    one.set_shield(RULES)
    assert one.abstention is None and "abstention" not in one.info
    assert agent().act(seen)[0].abstain is None


def test_a_failed_calibration_leaves_the_agent_without_one() -> None:
    one = agent()

    def interrupted() -> SessionDecisions:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate_agent(one, interrupted, 0.1, loss="share")
    assert one.abstention is None and "abstention" not in one.info


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Agent, Path]:
    one = agent()
    calibrate_agent(one, lambda: recorded_sessions(one, recorded(60).buffer), 0.2, loss="share")
    return one, export(one, tmp_path_factory.mktemp("export") / "agent.onnx")


def test_an_export_and_a_service_abstain_where_the_agent_does(calibrated: tuple[Agent, Path]) -> None:
    one, file = calibrated
    exported = ExportedAgent(file)
    rng = np.random.default_rng(1)
    both: list[Any] = [one, exported]
    states = [acting.initial_state(3) for acting in both]
    seen = rng.standard_normal((8, 3, 3)).astype(np.float32)
    expected = []
    for step in range(8):
        decisions = []
        for number, acting in enumerate(both):
            decision, states[number] = acting.act(seen[step], states[number])
            decisions.append(decision)
        assert decisions[0].abstain is not None and decisions[1].abstain is not None
        assert (decisions[0].abstain == decisions[1].abstain).all()
        expected.append(decisions[0].abstain)
    assert 0 < np.sum(expected) < 24
    for backend in (TorchBackend(one, 4), OnnxBackend(exported, 4)):
        service = make_service(backend)

        async def body(service: Any = service) -> list[list[bool]]:
            for row in range(3):
                await service.create(f"s{row}")
            found = []
            for step in range(8):
                answers = [
                    orjson.loads(await service.act(f"s{row}", {"observation": seen[step, row].tolist()}))
                    for row in range(3)
                ]
                found.append([answer["abstain"] for answer in answers])
            await service.stop()
            return found

        assert np.array_equal(asyncio.run(body()), expected)


def test_what_has_no_distributions_refuses_a_threshold_on_them(tmp_path: Path) -> None:
    one = agent(value="quantile", bins=5)
    calibrate_agent(one, lambda: recorded_sessions(one, recorded(60).buffer), 0.3, loss="share")
    with pytest.raises(ConfigError, match="--measure gap"):
        export(one, tmp_path / "agent.onnx")
    with pytest.raises(ConfigError, match="--measure gap"):
        make_service(TorchBackend(one, 2))


def test_the_commands_calibrate_report_and_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Agent(network(FOUR), {"env": "support_safety:Desk"}).save(tmp_path / "one")
    where = [str(tmp_path / "one"), "--env", "support_safety:Desk"]
    assert main(["calibrate", *where, "--error", "0.1", "--episodes", "60", "--level", "4.0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["loss"] == "return" and found["sessions"] == 60 and found["risk"] <= 0.1
    assert main(["evaluate", *where, "--episodes", "30", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["abstention"]
    assert report["bound"] == 0.1 and report["sessions"] == 30 and 0.0 <= report["error"] <= 0.4
    assert main(["calibrate", *where, "--remove"]) == 0
    assert Agent.load(tmp_path / "one").abstention is None
    for wrong, message in (
        (["--episodes", "9"], "--level together"),
        ([], "--data FILE or --episodes N"),
        (["--episodes", "8", "--level", "1", "--error", "0.1"], "at least 9 sessions"),
    ):
        capsys.readouterr()
        assert main(["calibrate", *where, *wrong]) in (2, 5)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "changed", [{"threshold": "x"}, {"threshold": 10**400}, {"measure": "sum"}, {"risk": True}, {"more": 1}]
)
def test_a_damaged_threshold_is_refused(changed: dict[str, Any]) -> None:
    found = Abstention(0.5, "gap", 0.1, "share", None, 9, 0.0, 1.0, "").to_json() | changed
    with pytest.raises(ConfigError, match="abstention"):
        Abstention.from_json(found)
