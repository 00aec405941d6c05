"""An agent trained by behaviour cloning is explained by its policy head, because its values are never trained."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import seqel
from seqel.datasets import load
from seqel.explanation.attribute import attribute
from seqel.explanation.methods.registry import method_names
from seqel.explanation.reading import Reading
from seqel.explanation.recorded import trace_session
from seqel.explanation.report import explain_episode
from seqel.explanation.trace import EpisodeTrace

STEPS = 5
SCHEMA = """session = "session"
order = "step"
action = "action"
reward = "reward"
actions = ["left", "right", "on"]

[observation]
cue = "number"
"""
SETTINGS = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "network.context": STEPS, "replay.window": STEPS,
    "replay.batch_tokens": 100, "learner.learning_rate": 1e-2, "learner.warmup": 10, "learner.average_rate": 0.2,
    "offline.every": 100, "threads": 1, "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> tuple[seqel.Agent, list[EpisodeTrace]]:
    """Clone a player that walks, and turns at the last step as the cue of the first step said."""
    folder = tmp_path_factory.mktemp("cloned")
    table, schema = folder / "sessions.csv", folder / "schema.toml"
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["session", "step", "cue", "action", "reward"])
        for session in range(60):
            cue = session % 2 * 2 - 1
            for step in range(STEPS):
                turn = "left" if cue < 0 else "right"
                rows.writerow([session, step, cue if step == 0 else 0, turn if step == STEPS - 1 else "on", 0])
    schema.write_text(SCHEMA, encoding="utf-8")
    agent = seqel.train(
        data=table, schema=schema, steps=200, seed=0, preset="behaviour-cloning", settings=SETTINGS,
        out=folder / "run", progress=False,
    )  # fmt: skip
    buffer = load(table, schema).buffer
    return agent, [trace_session(buffer, place) for place in range(6)]


def test_the_cue_is_first_in_log_probabilities(cloned: tuple[seqel.Agent, list[EpisodeTrace]]) -> None:
    agent, traces = cloned
    for trace in traces:
        reading = Reading(agent, trace, [other for other in traces if other is not trace])
        report = explain_episode(agent, trace, recorded=True, reading=reading)
        assert report.unit == "nats"
        last = report.steps[STEPS - 1]
        assert np.exp([bar.score for bar in last.scores]).sum() == pytest.approx(1.0, abs=1e-5)
        assert last.scores[0].recorded and last.scores[0].score > np.log(0.8)  # it learned to turn
        assert np.abs(report.methods["exchange"][STEPS - 1, : STEPS - 1]).argmax() == 0
    with torch.no_grad():  # the values know nothing: an explanation of them would be empty
        q = agent.network.head(reading.states(reading.tokens[None])).q
    assert float(q.abs().max()) == 0.0


def test_other_values_change_no_explanation_and_another_policy_does(
    cloned: tuple[seqel.Agent, list[EpisodeTrace]], tmp_path: Path
) -> None:
    original, (trace, *others) = cloned
    original.save(tmp_path)
    agent = seqel.Agent.load(tmp_path)
    policy = agent.network.part("policy")
    assert policy is not None
    before = {name: attribute(agent, trace, name, others=others) for name in method_names()}
    for parameter in agent.network.head.parameters():
        torch.nn.init.normal_(parameter)
    for name, found in before.items():
        np.testing.assert_array_equal(attribute(agent, trace, name, others=others), found)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter)
    for name, found in before.items():
        if name not in ("rollout", "attention"):  # they depend on the trunk alone
            assert np.abs(attribute(agent, trace, name, others=others) - found).max() > 1e-3, name
