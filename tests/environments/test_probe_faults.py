"""Environments that break Gymnasium's contract: the probe raises a clear error, never their own exception."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.environments.probe import Probe, probe
from seqel.environments.resolve import resolve
from seqel.errors import ConfigError, EnvironmentFault
from support import SPACE, Scripted


class OldReset(Scripted):
    """As gym's environments were before 2022."""

    def reset(self, **_: Any) -> Any:
        return super().reset()[0]


class OldStep(Scripted):
    """As gym's environments were before 2022."""

    def step(self, action: int) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated or truncated, info


class NoSeed(Scripted):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class Breaks(Scripted):
    def step(self, action: int) -> Any:
        raise ZeroDivisionError("the motor burnt")


class Stuck(Scripted):
    def step(self, action: int) -> Any:
        *rest, info = super().step(action)
        return *rest, info | {"action_mask": np.zeros(3, np.int8)}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (OldReset, r"reset returned ndarray: expected \(observation, info\)"),
        (OldStep, r"step returned 4 values: expected \(observation, reward, terminated"),
        (NoSeed, "failed in reset: TypeError.*seed"),
        (Breaks, "failed in step: ZeroDivisionError: the motor burnt"),
        (Stuck, "allows no action before step 2"),
    ],
)
def test_a_violation_of_the_contract_is_reported(make: Any, says: str) -> None:
    with pytest.raises(EnvironmentFault, match=says):
        probe(make)


def test_errors_of_seqel_itself_pass_as_they_are() -> None:
    class Said(Scripted):
        def step(self, action: int) -> Any:
            raise ConfigError("the level does not exist")

    with pytest.raises(ConfigError, match="the level does not exist"):
        probe(Said)


def test_masks_and_limits_are_found() -> None:
    taxi = probe(resolve("Taxi-v4"))
    assert taxi.masked and taxi.episode_limit == 200 and taxi.context == 64
    assert not probe(Scripted).masked


def test_unfinished_episodes_give_no_maximum_length() -> None:
    """The longest episode was still open when the probe stopped, so the maximum length is not known."""
    observation = probe(Scripted).observation
    found = Probe(observation, probe(Scripted).action, False, False, None, lengths=[3, 9], longest=40)
    assert found.horizon is None and found.context == 64
    assert Probe(observation, found.action, False, False, None, lengths=[3, 40], longest=40).horizon == 40
    assert Probe(observation, found.action, False, False, 17, lengths=[3, 9], longest=9).context == 17
    asked = Probe(observation, found.action, False, False, 17, suggested={"context": 5})
    assert asked.context == 5, "an environment knows best"


def test_the_environment_is_closed_whatever_happens() -> None:
    class Closes(Breaks):
        closed = 0

        def close(self) -> None:
            Closes.closed += 1

    with pytest.raises(EnvironmentFault):
        probe(Closes)
    assert Closes.closed == 1


def test_actions_that_start_elsewhere_are_played_from_there() -> None:
    class Shifted(gym.Env[Any, Any]):
        observation_space, action_space = SPACE, gym.spaces.Discrete(2, start=3)
        taken: set[int] = set()  # noqa: RUF012

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            return np.zeros(3, np.float32), {}

        def step(self, action: int) -> Any:
            Shifted.taken.add(action)
            return np.zeros(3, np.float32), 1.0, False, False, {}

    probe(Shifted, steps=50)
    assert Shifted.taken == {3, 4}
