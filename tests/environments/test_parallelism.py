"""The choice between one process and many, and the counting of steps."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.environments import parallelism as speed
from seqel.environments.parallelism import choose_mode
from seqel.environments.probe import probe
from seqel.environments.resolve import resolve

POLE = resolve("CartPole-v1")


def tried(monkeypatch: pytest.MonkeyPatch, cores: int, sync: float, parallel: float) -> list[str]:
    """Simulate the number of cores and the speeds; return the list of modes that were tried."""
    modes: list[str] = []

    def timed(make: Any, observation: Any, action: Any, envs: int, mode: str, seconds: float) -> dict[str, float]:
        modes.append(mode)
        return {"steps_per_s": {"sync": sync, "async": parallel}[mode]}

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(speed, "time_env", timed)
    monkeypatch.setattr(speed, "FAST", 2_000.0)
    return modes


@pytest.mark.parametrize(("sync", "parallel", "chosen"), [(100.0, 150.0, "async"), (100.0, 80.0, "sync")])
def test_a_slow_environment_is_tried_both_ways(
    monkeypatch: pytest.MonkeyPatch, sync: float, parallel: float, chosen: str
) -> None:
    modes = tried(monkeypatch, 2, sync, parallel)
    slow = dataclasses.replace(probe(POLE), steps_per_second=100.0)
    assert choose_mode(POLE, slow, 8) == chosen
    assert modes == ["sync", "async"]


@pytest.mark.parametrize(("cores", "rate", "envs"), [(2, 50_000.0, 8), (1, 100.0, 8), (2, 100.0, 1)])
def test_nothing_is_tried_where_processes_cannot_help(
    monkeypatch: pytest.MonkeyPatch, cores: int, rate: float, envs: int
) -> None:
    modes = tried(monkeypatch, cores, 1.0, 2.0)
    found = dataclasses.replace(probe(POLE), steps_per_second=rate)
    assert choose_mode(POLE, found, envs) == "sync"
    assert modes == []


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_environments_of_every_space_run_either_way(mode: Any) -> None:
    """MiniGrid's texts have a custom space, which cannot be in shared memory."""
    make = resolve("MiniGrid-MemoryS7-v0")
    found = probe(make)
    assert speed.time_env(make, found.observation, found.action, 2, mode, 0.2)["steps_per_s"] > 0


def test_environments_are_counted_by_their_steps() -> None:
    made = []

    class Slow(gym.Env):
        observation_space = gym.spaces.Discrete(2)
        action_space = gym.spaces.Discrete(2)

        def __init__(self) -> None:
            self.steps = 0
            made.append(self)

        def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
            super().reset(seed=seed)
            return np.int64(0), {}

        def step(self, action):  # type: ignore[no-untyped-def]
            self.steps += 1
            return np.int64(0), 0.0, self.steps % 7 == 0, False, {}

    seen = probe(Slow)
    made.clear()
    found = speed.time_env(Slow, seen.observation, seen.action, 2, "sync", 0.2)
    assert found["steps_per_s"] * 0.2 == pytest.approx(sum(env.steps for env in made), rel=0.1)
