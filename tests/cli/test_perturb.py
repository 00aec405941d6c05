"""`seqel evaluate --perturb` and `seqel monitor reference --states`, on a run of seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqel
from seqel.agents.agent import Agent
from seqel.agents.artifact import weights_checksum
from seqel.cli.main import main
from seqel.robustness import StateReference, play_states
from support import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("perturb") / "run"
    seqel.train("CartPole-v1", steps=600, settings=TINY, out=path, progress=False)
    return str(path)


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_curves_start_at_the_plain_evaluation(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = as_json(capsys, "evaluate", run, "--episodes", "4", "--seed", "5")
    picture = tmp_path / "curves.png"
    found = as_json(
        capsys, "evaluate", run, "--episodes", "4", "--seed", "5", "--perturb", "noise:0,5", "--perturb", "fgsm:0,0.5",
        "--plot", str(picture),
    )  # fmt: skip
    for kind in ("noise", "fgsm"):
        curve = found["perturbations"][kind]
        assert curve["evaluations"][0]["returns"] == plain["returns"]
        means = [one["mean"] for one in curve["evaluations"]]
        assert curve["area"] == pytest.approx(sum(means) / 2)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_terminal_shows_a_table(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", run, "--episodes", "3", "--perturb", "delay:0,2"]) == 0
    shown = capsys.readouterr().out
    assert "delay steps" in shown and "area under the curve" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--perturb", "fog"], "expected one of noise"),
        (["--perturb", "typos"], "changes leaves of the kinds"),
        (["--perturb", "noise", "--perturb", "noise:0,1"], "given twice"),
        (["--perturb", "noise", "--data", "x.csv"], "give one of them"),
        (["--plot", "x.png"], "needs --data or --perturb"),
    ],
)
def test_what_cannot_be_perturbed_is_refused(
    run: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run, "--episodes", "2", *arguments]) != 0
    assert message in capsys.readouterr().err


def test_familiar_states_are_written_beside_the_agent(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("river")
    pytest.importorskip("prometheus_client")
    found = as_json(capsys, "monitor", "reference", run, "--episodes", "8", "--states", "--false-alarms", "0.1")[
        "states"
    ]
    reference = StateReference.load(Path(found["path"]))
    agent = Agent.load(run)
    assert reference.weights == weights_checksum(agent.network) and reference.false_alarms == 0.1
    states = play_states(agent, "CartPole-v1", 8, seed=100).states
    assert reference.unfamiliar(states).mean() < 0.4
    assert reference.unfamiliar(np.full((1, states.shape[1]), 50.0)).all()
