"""Finding an environment by its name, and probing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.environments.probe import LONG_CONTEXT, probe
from seqel.environments.resolve import environment_name, resolve
from seqel.errors import EnvironmentFault, SpaceError
from support import SPACE, Scripted


def test_an_id_a_class_a_function_and_a_module_name_all_make_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_rooms.py").write_text(
        "import gymnasium as gym\n"
        "class Room(gym.Env):\n"
        "    observation_space = gym.spaces.Discrete(3)\n"
        "    action_space = gym.spaces.Discrete(2)\n"
        "    def __init__(self, size=1):\n"
        "        self.size = size\n"
        "gym.register('Room-v0', 'my_rooms:Room')\n"
    )
    monkeypatch.chdir(tmp_path)

    def made(name: str, **given: Any) -> Any:
        return resolve(name, **given)()

    assert made("my_rooms:Room").observation_space.n == 3
    assert made("my_rooms:Room", size=4).size == 4
    assert made("my_rooms:Room-v0").unwrapped.size == 1
    assert made("CartPole-v1").action_space.n == 2
    assert made("seqel/TMaze-v0", length=7).unwrapped.length == 7
    assert made("MiniGrid-MemoryS7-v0").action_space.n == 7, "registered on demand"
    assert isinstance(resolve(Scripted)(), Scripted) and isinstance(resolve(lambda: Scripted(3))(), Scripted)
    assert environment_name("CartPole-v1") == "CartPole-v1" and environment_name(Scripted) == "Scripted"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CartPoll-v1", "did you mean"),
        ("nothing_here:Env", "no module"),
        ("shop.py:Shop", r"no module .shop\.py. .*did you mean .shop.\?"),
        ("math:Env", "no class"),
        (3, "expected an environment id"),
    ],
)
def test_an_unknown_environment_is_reported(name: Any, says: str) -> None:
    with pytest.raises(EnvironmentFault, match=says):
        resolve(name)


def test_a_module_that_fails_to_import_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_rooms.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentFault, match="ZeroDivisionError"):
        resolve("broken_rooms:Room")


def test_the_probe_reads_short_and_long_episodes() -> None:
    maze = probe(resolve("seqel/TMaze20-v0"))
    assert set(maze.lengths) == {21} and maze.context == 21 and maze.reports_success
    assert maze.suggested["discount"] == 1.0
    pole = probe(resolve("CartPole-v1"))
    assert pole.episode_limit == 500 and pole.context == LONG_CONTEXT and pole.reward_range == (1.0, 1.0)
    assert len(pole.lengths) == len(pole.returns) == 8
    assert pole.rewarded == 1.0 and 0.9 < maze.rewarded < 1.0, "a step in the maze costs once the agent is late"
    again = probe(resolve("CartPole-v1"))
    assert again.lengths == pole.lengths, "the same on every machine: bounded in steps, not in seconds"


def test_the_probe_warns_about_difficulties() -> None:
    class Silent(gym.Env[Any, Any]):
        observation_space, action_space = SPACE, gym.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            return np.zeros(3, np.float32), {}

        def step(self, action: int) -> Any:
            return np.zeros(3, np.float32), 0.0, False, False, {}

    found = probe(Silent, steps=50)
    assert found.longest == 50 and not found.lengths and found.horizon is None
    assert any("no random episode ended" in text for text in found.warnings)
    assert found.rewarded == 0.0 and any("no reward at all" in text for text in found.warnings)


def test_a_violation_of_the_contract_is_refused() -> None:
    class Unsupported(Scripted):
        action_space = gym.spaces.Box(-1, 1, (2,))  # type: ignore[assignment]

    class Shapeless(Scripted):
        def _see(self) -> np.ndarray:
            return np.zeros(5, np.float32)

    class Infinite(Scripted):
        def step(self, action: int) -> Any:
            seen, _, *rest = super().step(action)
            return seen, float("inf"), *rest

    with pytest.raises(SpaceError, match="Discrete"):
        probe(Unsupported)
    with pytest.raises(SpaceError, match="as its space says"):
        probe(Shapeless)
    with pytest.raises(EnvironmentFault, match="finite"):
        probe(Infinite)
    with pytest.raises(EnvironmentFault, match="cannot be created"):
        probe(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(EnvironmentFault, match=r"expected a gymnasium\.Env"):
        probe(type("Thing", (), {"close": lambda self: None}))
