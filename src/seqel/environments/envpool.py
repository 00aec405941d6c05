"""envpool's engines in place of the Gymnasium ids that they re-implement: the same spaces and tasks, many times faster.

The implementation of a task is envpool's, and so are its random numbers. An agent trained here can act on
`gymnasium.make(id)` without changes. (envpool: Weng et al. 2022, arXiv:2206.10558.) Needs the extra `pool`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, MissingExtraError, SpaceError
from seqel.extras import require

__all__ = ["PoolEnv", "has_pool"]


def has_pool(name: str) -> bool:
    """Return whether envpool is installed and knows the id."""
    try:
        envpool = require("envpool", "pool")
    except MissingExtraError:
        return False
    return name in envpool.list_all_envs()


class PoolEnv:
    """`count` environments of one id that are stepped together; the part of a vector environment that `VectorStream` uses.

    The autoreset mode is NEXT_STEP: the call after an episode's end only resets. Episodes cannot be seeded individually: the
    first `reset` seeds the whole pool. Running again with the same seed gives the same run, but open episodes cannot be
    replayed when a run is resumed.

    Raises:
        MissingExtraError: envpool is not installed.
        ConfigError: envpool does not know the id, or rejects the arguments.
        SpaceError: its observations or actions are not those of the Gymnasium id.
    """

    def __init__(self, name: str, count: int, arguments: dict[str, Any] | None = None, threads: int = 0) -> None:
        require("envpool", "pool", "vectorization = 'envpool'")
        if not has_pool(name):
            raise ConfigError(
                f"vectorization = 'envpool': expected an id that envpool knows, got {name!r}. See `envpool.list_all_envs()`"
            )
        self.name, self.num_envs, self.arguments, self.threads = name, count, arguments or {}, threads
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        env = gym.make(name, **self.arguments)
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        env.close()
        self._pool = self._make(0)
        self._check()
        self._ran = False  # whether the pool has been reset since it was made

    def _make(self, seed: int) -> Any:
        envpool = require("envpool", "pool")
        options = {"num_threads": self.threads} if self.threads else {}
        try:
            return envpool.make_gymnasium(self.name, num_envs=self.num_envs, seed=seed, **options, **self.arguments)
        except Exception as error:
            raise ConfigError(f"envpool cannot make {self.name!r}: {type(error).__name__}: {error}") from error

    def _check(self) -> None:
        ours, theirs = self.single_observation_space, self._pool.observation_space
        if not _fits(ours, theirs):
            raise SpaceError(
                f"expected envpool's {self.name!r} to observe {ours} as gymnasium.make's does, got {theirs}"
            )
        if not _same_actions(self.single_action_space, self._pool.action_space):
            raise SpaceError(
                f"envpool's {self.name!r} acts in {self._pool.action_space}, gymnasium.make's in {self.single_action_space}"
            )

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset every environment. Seeds (one per environment, or none) are combined into one for the pool."""
        given = [one for one in (seed if isinstance(seed, list) else [seed]) if one is not None]
        if given or self._ran:
            self._pool.close()
            drawn = int(np.random.SeedSequence(given or None).generate_state(1)[0])
            self._pool = self._make(drawn % ((1 << 31) - self.num_envs))  # environment i has this seed + i
        self._ran = True
        observation, _ = self._pool.reset()
        return self._read(self.single_observation_space, observation), {}

    def step(
        self, action: NDArray[Any]
    ) -> tuple[Any, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every environment; same contract as a vector environment. Raises EnvironmentFault if the engine fails."""
        try:
            observation, reward, terminated, truncated, _ = self._pool.step(np.asarray(action))
        except Exception as error:
            raise EnvironmentFault(f"envpool failed in step: {type(error).__name__}: {error}") from error
        return self._read(self.single_observation_space, observation), reward, terminated, truncated, {}

    def close(self) -> None:
        """Release the engine."""
        self._pool.close()

    def _read(self, space: gym.Space[Any], value: Any) -> Any:
        if isinstance(space, gym.spaces.Dict):
            return {name: self._read(part, value[name]) for name, part in space.spaces.items()}
        if _is_text(space):
            return [_text(row.tobytes()) for row in value]
        return value


def _is_text(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Text) or getattr(space.dtype, "kind", "") == "U"


@lru_cache(maxsize=4096)
def _text(row: bytes) -> str:
    """Decode a text: envpool returns bytes, padded with zeros."""
    return row.rstrip(b"\0").decode("utf-8", errors="replace")


def _same_actions(ours: gym.Space[Any], theirs: gym.Space[Any]) -> bool:
    """Whether both are discrete actions of the same sizes. envpool counts from 0."""
    if isinstance(ours, gym.spaces.MultiDiscrete):
        same = isinstance(theirs, gym.spaces.MultiDiscrete) and np.array_equal(ours.nvec, theirs.nvec)
        return bool(same and not np.any(ours.start))
    return isinstance(ours, gym.spaces.Discrete) and isinstance(theirs, gym.spaces.Discrete) and ours.n == theirs.n


def _fits(ours: gym.Space[Any], theirs: gym.Space[Any]) -> bool:
    """Return whether envpool's observations can be read as those of the Gymnasium id."""
    if isinstance(ours, gym.spaces.Dict):
        return isinstance(theirs, gym.spaces.Dict) and all(
            name in theirs.spaces and _fits(part, theirs[name]) for name, part in ours.spaces.items()
        )
    if _is_text(ours):
        return theirs.dtype == np.uint8 and len(theirs.shape or ()) == 1
    if isinstance(ours, gym.spaces.Discrete):
        return isinstance(theirs, gym.spaces.Discrete) and theirs.n == ours.n and theirs.start == ours.start
    return ours.shape == theirs.shape and np.issubdtype(ours.dtype, np.integer) == np.issubdtype(
        theirs.dtype, np.integer
    )
