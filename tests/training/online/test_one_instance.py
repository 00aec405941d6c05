"""Environments of which only one instance can exist: training, validation and the probe take turns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

import seqel
from seqel.errors import EnvironmentFault
from support import TINY

SMALL = TINY | {"validation.every": 100, "validation.episodes": 2}


class Counts(gym.Env[Any, Any]):
    """Six steps per episode; fails if one is interrupted without a reset, and on a forbidden action."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, folder: Path | None = None, fails: bool = False) -> None:
        self.time, self.folder, self.fails = -1, folder, fails

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if self.folder is not None:
            os.chdir(self.folder)
        self.time = 0
        return self._see(), {"action_mask": self._mask()}

    def _see(self) -> Any:
        return np.array([self.time / 6, 0.0], np.float32)

    def _mask(self) -> Any:
        return np.arange(3) != self.time % 3

    def step(self, action: Any) -> Any:
        assert 0 <= self.time < 6, "a step after the end"
        assert self._mask()[action], "a forbidden action"
        self.time += 1
        return self._see(), 1.0, self.time == 6, False, {"action_mask": self._mask(), "is_success": True}

    def close(self) -> None:
        if self.fails:
            raise OSError("the door is jammed")


def test_one_instance_is_trained_and_validated_in_turns(tmp_path: Path) -> None:
    env = Counts()
    agent = seqel.train(
        lambda: env, steps=400, out=tmp_path / "run", settings=SMALL | {"environments": 1}, progress=None
    )
    assert agent.info["masked"] and cast(Any, agent.info["validation"])["mean"] == 6.0
    with pytest.raises(EnvironmentFault, match="environments = 1"):
        seqel.train(lambda: env, steps=400, out=tmp_path / "more", settings=SMALL, progress=None)


def test_episodes_that_validation_interrupted_are_stored_as_truncated() -> None:
    from seqel.training.config import preset
    from seqel.training.online.trainer import OnlineTrainer

    env = Counts()
    session = OnlineTrainer(preset(**{**SMALL, "environments": 1}), lambda: env)
    session.collector.begin()
    for _ in range(8):
        session.collect()
    session.validate(2)
    assert session.stream.first.all() and session.collector.staging.cursor.tolist() == [0]
    assert session.replay.episodes == 2 and len(session.replay) == 8, (
        "six steps, and the two of the interrupted episode"
    )
    for _ in range(6):
        session.collect()
    assert session.replay.episodes == 3
    session.close()


def test_a_run_whose_environments_fail_in_close_is_kept(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="the door is jammed"):
        agent = seqel.train(lambda: Counts(fails=True), steps=200, out=tmp_path / "run", settings=SMALL, progress=None)
    assert cast(Any, agent.info["validation"])["mean"] == 6.0 and (tmp_path / "run" / "summary.json").exists()


def test_an_environment_that_changes_the_directory_does_not_move_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    settings = SMALL | {"replay.directory": "scratch"}
    seqel.train(lambda: Counts(elsewhere), steps=200, out="run", settings=settings, progress=None)
    assert (tmp_path / "run" / "summary.json").exists() and not list(elsewhere.iterdir())
    os.chdir(tmp_path)
    seqel.resume("run", env=lambda: Counts(elsewhere), steps=300, progress=None)
    os.chdir(tmp_path)
    seqel.train(lambda: Counts(elsewhere), steps=200, init_from="run", settings=SMALL, progress=None)
    assert [path.name for path in (tmp_path / "runs").iterdir()] and not list(elsewhere.iterdir())


def test_masks_that_appear_after_the_probe_are_a_fault(tmp_path: Path) -> None:
    class Late(Counts):
        total = 0

        def step(self, action: Any) -> Any:
            Late.total += 1
            self.late = Late.total > 1_100  # the probe takes a thousand steps
            return super().step(action)

        def _mask(self) -> Any:
            return np.arange(3) != self.time % 3 if getattr(self, "late", False) else None

    class Unmasked(Late):
        def step(self, action: Any) -> Any:
            self.time += 1
            Late.total += 1
            self.late = Late.total > 60
            return self._see(), 1.0, self.time == 6, False, {"action_mask": self._mask()}

    with pytest.raises(EnvironmentFault, match="reported for the first time, but the probe"):
        seqel.train(Unmasked, steps=400, out=tmp_path / "run", settings=SMALL, progress=None)


def test_an_endless_environment_is_validated_for_a_thousand_steps_per_episode() -> None:
    from seqel.environments.probe import Probe, probe
    from seqel.training.config import preset
    from seqel.training.online.trainer import OnlineTrainer

    class Endless(Counts):
        def step(self, action: Any) -> Any:
            return self._see(), 1.0, False, False, {"action_mask": self._mask()}

    found: Probe = probe(Endless)
    session = OnlineTrainer(preset(**{**SMALL, "environments": 2}), Endless, found)
    assert session.greedy.limit == 1_000, "it was 10,000, ten times what the probe happened to play"
    session.close()
