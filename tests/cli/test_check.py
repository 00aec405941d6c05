"""`seqel check`: one recommended command, masks, and an estimate that includes validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqel.cli.check import learning_seconds, validation_steps
from seqel.cli.main import main
from seqel.environments.probe import Probe
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import preset
from support import SPACE


def test_the_estimate_of_learning_by_hand() -> None:
    """10,000 rounds of 8 environments at 1 ms, and 80,000 * 3 / 400 = 600 updates at 20 ms: 10 + 12 s."""
    config = preset(**{"steps": 80_000, "environments": 8, "replay.replay_ratio": 3.0})
    assert learning_seconds(config, {"collect": 1e-3, "update": 0.02, "transitions": 400.0}) == pytest.approx(22.0)


def test_the_estimate_uses_the_replay_ratio_that_the_run_will_have(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--set", "network.width=16", "--set", "network.heads=2", "--set", "network.layers=1"]
    assert main(["check", "CartPole-v1", "--steps", "100", *tiny, "--set", "steps=800_000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["run"]
    assert (found["steps"], found["replay_ratio"]) == (800_000, 16.0)
    assert found["seconds"] > found["validation_seconds"] > 0.0


def test_the_estimate_of_validation_steps_follows_limits_and_ended_episodes() -> None:
    settings: dict[str, Any] = {"steps": 50_000, "validation.every": 20_000, "validation.episodes": 32}
    config = preset(**settings)
    base = (ObservationSpec.from_space(SPACE), ActionSpec((2,), (0,)), False, False)
    assert validation_steps(config, Probe(*base, 500, [20, 30]), 100_000) == (96, 500)
    assert validation_steps(config, Probe(*base, None, [20, 30]), 1_000) == (96, 30)
    assert validation_steps(config, Probe(*base, None), 1_000) == (96, 1_000)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    import contextlib
    import io
    import os

    folder = tmp_path_factory.mktemp("rooms")
    (folder / "endless_room.py").write_text(
        "import gymnasium as gym, numpy as np\n"
        "class Room(gym.Env):\n"
        "    observation_space = gym.spaces.Dict(\n"
        "        {'x': gym.spaces.Box(-1, 1, (2,)), 'action_mask': gym.spaces.MultiBinary(3)})\n"
        "    action_space = gym.spaces.Discrete(3)\n"
        "    def see(self):\n"
        "        return {'x': np.zeros(2, np.float32), 'action_mask': np.array([1, 0, 1], np.int8)}\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        return self.see(), {}\n"
        "    def step(self, action):\n"
        "        assert action != 1\n"
        "        return self.see(), 0.0, False, False, {}\n"
    )
    here, out = Path.cwd(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out):
            assert main(["check", "endless_room:Room", "--steps", "200"]) == 0
    finally:
        os.chdir(here)
    return " ".join(out.getvalue().split())


def test_check_reports_the_source_of_masks_and_that_no_episode_ended(shown: str) -> None:
    assert "3, masked by observation['action_mask']" in shown
    assert "no time limit is declared" in shown
    assert "of it for validation" in shown
    assert "0 to 0 per step in random play; 0% of the steps had a reward other than 0" in shown


def test_check_says_what_the_processor_can_do_and_whether_the_machine_is_busy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", "seqel/TMaze10-v0", "--steps", "50", "--set", "network.width=16", "--set", "network.heads=2"]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0), raising=False)
    assert main([*arguments, "--set", "device=cpu", "--set", "learner.precision=bf16"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "processor AVX2; " in shown and "no bf16: learner.precision = 'bf16' would not help" in shown
    assert "this processor (AVX2) lacks" in shown, "the run would be refused"
    assert "the machine is busy (load 99.0 in the last minute" in shown
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processor"]["instructions"] == ["AVX2"]
    assert not any("busy" in warning or "bf16" in warning for warning in found["warnings"])


def test_check_ends_with_one_command(shown: str) -> None:
    assert shown.count("next:") == 1 and "next: seqel train endless_room:Room" in shown
    assert "--preset" not in shown and "--compare shows whether memory helps" in shown
