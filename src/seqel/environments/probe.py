"""What an environment is like, found by playing a few random episodes: lengths, rewards, suggestions, warnings.

The same numbers on every machine: the probe is bounded in steps, not in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from seqel.environments.resolve import EnvMaker
from seqel.errors import EnvironmentFault, SeqelError
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["Probe", "probe"]

WHOLE_EPISODE = 128  # episodes up to this long are attended to as a whole
LONG_CONTEXT = 64  # what each layer reaches back in longer ones


@dataclass(frozen=True, slots=True)
class Probe:
    """An environment, as a newcomer would like to be told about it."""

    observation: ObservationSpec
    action: ActionSpec
    masked: bool  # info["action_mask"] is reported
    reports_success: bool
    episode_limit: int | None  # declared by the environment
    lengths: list[int] = field(default_factory=list)  # of the random episodes that ended
    returns: list[float] = field(default_factory=list)
    reward_range: tuple[float, float] = (0.0, 0.0)
    longest: int = 0  # steps of the longest episode seen, ended or not
    steps_per_second: float = 0.0
    suggested: dict[str, Any] = field(default_factory=dict)  # settings the environment itself asks for
    warnings: list[str] = field(default_factory=list)

    @property
    def horizon(self) -> int | None:
        """The longest an episode can be, as far as is known."""
        if self.episode_limit is not None:
            return self.episode_limit
        return max(self.lengths) if self.lengths and max(self.lengths) == self.longest else None

    @property
    def context(self) -> int:
        """Suggested steps of attention, each layer: whole episodes where they are short."""
        asked = self.suggested.get("context")
        if asked is not None:
            return int(asked)
        horizon = self.horizon
        return max(2, horizon) if horizon is not None and horizon <= WHOLE_EPISODE else LONG_CONTEXT


def probe(make: EnvMaker, *, seed: int = 0, steps: int = 1_000, episodes: int = 8) -> Probe:
    """Play up to `episodes` random episodes, `steps` steps in all.

    Raises:
        SpaceError: a space is not supported. EnvironmentFault: it cannot be made, or breaks Gymnasium's contract.
    """
    try:
        env = make()
    except Exception as error:
        raise EnvironmentFault(f"the environment cannot be made: {type(error).__name__}: {error}") from error
    try:
        return _play(env, seed, steps, episodes)
    finally:
        env.close()


def _play(env: gym.Env[Any, Any], seed: int, steps: int, episodes: int) -> Probe:
    if not isinstance(env, gym.Env):
        raise EnvironmentFault(f"expected a gymnasium.Env, got {type(env).__module__}.{type(env).__name__}")
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    returns: list[float] = []
    low, high, longest, taken = np.inf, -np.inf, 0, 0
    masked = success = False
    seconds = 0.0
    while taken < steps and len(lengths) < episodes:
        observation, info = _call("reset", 2, partial(env.reset, seed=seed + len(lengths)))
        spec.flatten(observation, None)
        length, total = 0, 0.0
        while taken < steps:
            mask = info.get("action_mask")
            masked |= mask is not None
            allowed = np.arange(action.actions) if mask is None else np.flatnonzero(mask)
            if len(allowed) == 0:
                raise EnvironmentFault(
                    f"info['action_mask'] allows no action before step {length + 1} of an open episode"
                )
            choice = int(rng.choice(allowed)) + action.start[0]
            began = time.perf_counter()
            observation, reward, terminated, truncated, info = _call("step", 5, partial(env.step, choice))
            seconds += time.perf_counter() - began
            taken, length = taken + 1, length + 1
            spec.flatten(observation, None)
            if not np.isfinite(float(reward)):
                raise EnvironmentFault(f"step {length} returned the reward {reward}: expected a finite number")
            low, high, total = min(low, float(reward)), max(high, float(reward)), total + float(reward)
            success |= "is_success" in info
            if terminated or truncated:
                lengths.append(length)
                returns.append(total)
                break
        longest = max(longest, length)
    limit = getattr(env.spec, "max_episode_steps", None) if env.spec is not None else None
    found = Probe(
        observation=spec,
        action=action,
        masked=masked,
        reports_success=success,
        episode_limit=limit,
        lengths=lengths,
        returns=returns,
        reward_range=(low, high),
        longest=longest,
        steps_per_second=taken / max(seconds, 1e-9),
        suggested=dict((env.metadata or {}).get("seqel", {})),
    )
    found.warnings.extend(_warnings(found, taken))
    return found


def _call(name: str, parts: int, call: Callable[[], Any]) -> tuple[Any, ...]:
    """What `reset` or `step` returned, or an error that names the environment as the one that failed."""
    try:
        returned = call()
    except SeqelError:
        raise
    except Exception as error:
        raise EnvironmentFault(f"the environment failed in {name}: {type(error).__name__}: {error}") from error
    if not isinstance(returned, tuple) or len(returned) != parts:
        came = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        wanted = "(observation, info)" if parts == 2 else "(observation, reward, terminated, truncated, info)"
        raise EnvironmentFault(f"{name} returned {came}: expected {wanted}, as Gymnasium's environments do")
    return returned


def _warnings(found: Probe, taken: int) -> list[str]:
    said = []
    if not found.lengths:
        said.append(f"no random episode ended within {taken} steps: returns are known only once one does")
    if found.reward_range == (0.0, 0.0):
        said.append("random play saw no reward at all: the first one must be met by chance, and may take long")
    texts = [leaf.path for leaf in found.observation.leaves if leaf.kind == "text"]
    said.extend(f"{path!r} is text: it is read as hashed byte trigrams, word order is mostly lost" for path in texts)
    return said
