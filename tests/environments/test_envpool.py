"""envpool behind a Gymnasium id: with an engine of the same interface, and with envpool itself if it is installed."""

from __future__ import annotations

import sys
import types
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import seqel
from seqel.environments.envpool import PoolEnv, has_pool
from seqel.environments.probe import probe
from seqel.environments.resolve import registered, resolve
from seqel.environments.vector import VectorStream, make_vector
from seqel.errors import ConfigError, MissingExtraError, SpaceError
from support import TINY

HERE = find_spec("envpool") is not None
GRID = "MiniGrid-MemoryS7-v0"


class Engine:
    """Behaves like envpool's engines: one seed for all, NEXT_STEP, and texts as bytes padded with zeros."""

    made: list[int] = []  # noqa: RUF012 (the seeds that engines were made with)

    def __init__(self, name: str, num_envs: int, seed: int, **arguments: Any) -> None:
        self.made.append(seed)
        self.seed = seed
        self.envs = SyncVectorEnv(
            [partial(gym.make, name, **arguments)] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP
        )
        self.action_space = self.envs.single_action_space
        self.observation_space = self.envs.single_observation_space
        if isinstance(self.observation_space, gym.spaces.Dict):
            parts = dict(self.observation_space.spaces) | {"mission": gym.spaces.Box(0, 255, (96,), np.uint8)}
            self.observation_space = gym.spaces.Dict(parts)

    def _bytes(self, observation: Any) -> Any:
        if not isinstance(observation, dict):
            return observation
        texts = [np.frombuffer(text.encode().ljust(96, b"\0"), np.uint8) for text in observation["mission"]]
        return observation | {"mission": np.stack(texts)}

    def reset(self) -> Any:
        return self._bytes(self.envs.reset(seed=self.seed)[0]), {}

    def step(self, action: Any) -> Any:
        observation, *rest = self.envs.step(action)
        return self._bytes(observation), *rest

    def close(self) -> None:
        self.envs.close()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("envpool")
    module.list_all_envs = lambda: ["CartPole-v1", GRID, "Blackjack-v1"]  # type: ignore[attr-defined]
    module.make_gymnasium = Engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "envpool", module)
    Engine.made = []


def play(name: str, steps: int = 60, seeds: list[int | None] | None = None) -> list[Any]:
    """Take random actions and return the observations reached, without reset transitions."""
    make = resolve(name)
    seen = probe(make)
    stream = VectorStream(make_vector(make, 3, "envpool"), seen.observation, seen.action)
    rng, found = np.random.default_rng(0), []
    stream.reset(seeds or [1, 2, 3])
    for _ in range(steps):
        outcome = stream.step(rng.integers(seen.action.actions, size=3))
        found.append((outcome.reached, outcome.reward, outcome.ended, outcome.stepped))
    stream.close()
    return found


@pytest.mark.parametrize("name", ["CartPole-v1", GRID])
def test_observations_are_those_of_the_gymnasium_id(engine: None, name: str) -> None:
    rows = play(name)
    storage = probe(resolve(name)).observation.storage
    for reached, _, _, _ in rows:
        assert {path: (leaf.shape[1:], leaf.dtype) for path, leaf in reached.items()} == storage
    if name == GRID:
        text = gym.make(name).reset()[0]["mission"]
        flat = probe(resolve(name)).observation.flatten(gym.make(name).reset()[0], None)
        assert (rows[0][0]["mission"][0] == flat["mission"]).all(), text


def test_the_call_that_only_resets_is_not_a_step(engine: None) -> None:
    rows = play("CartPole-v1")
    ends = [np.array(done) for _, _, done, _ in rows]
    assert sum(end.sum() for end in ends) > 3
    for end, (_, reward, _, stepped) in zip(ends, rows[1:], strict=False):
        assert (stepped == ~end).all()
        assert (reward[~stepped] == 0).all()


def test_the_first_reset_seeds_the_pool(engine: None) -> None:
    one, same, other = play("CartPole-v1"), play("CartPole-v1"), play("CartPole-v1", seeds=[4, 5, 6])
    take = lambda rows: np.stack([reached["observation"] for reached, *_ in rows])  # noqa: E731
    assert np.array_equal(take(one), take(same))
    assert not np.array_equal(take(one), take(other))


def test_unsupported_ids_and_spaces_are_refused(engine: None) -> None:
    with pytest.raises(ConfigError, match="expected an id that envpool knows, got 'Acrobot-v1'"):
        make_vector(resolve("Acrobot-v1"), 2, "envpool")
    with pytest.raises(ConfigError, match="got ''"):
        make_vector(lambda: gym.make("CartPole-v1"), 2, "envpool")
    pool = PoolEnv("CartPole-v1", 2)
    pool._pool.observation_space = gym.spaces.Box(0, 1, (3,), np.float32)
    with pytest.raises(SpaceError, match="to observe"):
        pool._check()
    assert registered(resolve("CartPole-v1")) == ("CartPole-v1", {})


def test_without_envpool_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert not has_pool("CartPole-v1")
    with pytest.raises(MissingExtraError, match=r'needs envpool, .* pip install "seqel\[pool\]"'):
        make_vector(resolve("CartPole-v1"), 2, "envpool")


def test_a_run_trains_on_it_and_continues_with_new_episodes(engine: None, tmp_path: Path) -> None:
    settings = TINY | {"vectorization": "envpool", "environments": 3}
    seqel.train("CartPole-v1", steps=400, out=tmp_path / "run", settings=settings, progress=False)
    made = len(Engine.made)
    records: list[Any] = []
    agent = seqel.resume(tmp_path / "run", steps=800, progress=records.append)
    assert any("open episodes were dropped" in note for record in records for note in record.notes)
    assert Engine.made[-1] not in Engine.made[:made], "not the same episodes again"
    result = seqel.evaluate(agent, "CartPole-v1", 2, seed=0)
    assert len(result.returns) == 2, "and acts on gymnasium.make(id)"


@pytest.mark.skipif(not HERE, reason="envpool is not installed (the extra `pool`)")
@pytest.mark.parametrize("name", ["CartPole-v1", GRID])
def test_envpool_itself(name: str) -> None:
    rows = play(name, steps=300)
    assert sum(int(done.sum()) for _, _, done, _ in rows) > 0
    storage = probe(resolve(name)).observation.storage
    assert {path: (leaf.shape[1:], leaf.dtype) for path, leaf in rows[0][0].items()} == storage
