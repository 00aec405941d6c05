"""Plays a few random episodes to find out about an environment: lengths, rewards, suggested settings, warnings.

The probe is limited in steps, not in seconds, so that it finds the same numbers on every machine.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seqel.action_masks import MASK
from seqel.environments.conformance import Watcher, replays
from seqel.environments.contract import COST, SUCCESS, CheckedEnv, make_checked
from seqel.environments.resolve import EnvMaker
from seqel.environments.seeds import REPORTS
from seqel.environments.text_share import TextShare
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.spaces.kinds.base import Hint
from seqel.texts.classes import LabelledTexts

__all__ = ["Probe", "probe"]

WHOLE_EPISODE = 128  # up to this length, the context covers the whole episode
LONG_CONTEXT = 64  # context for longer episodes
REPLAYED = 20  # steps of the first episode that are played again, to check that seeds are respected


@dataclass(frozen=True, slots=True)
class Probe:
    """What a user wants to know about an environment before training."""

    observation: ObservationSpec
    action: ActionSpec
    masked: bool  # an action mask is given, in `info` or in the observation
    reports_success: bool
    episode_limit: int | None  # declared by the environment
    lengths: list[int] = field(default_factory=list)  # of the random episodes that ended
    returns: list[float] = field(default_factory=list)
    reward_range: tuple[float, float] = (0.0, 0.0)
    longest: int = 0  # steps of the longest episode, ended or not
    steps_per_second: float = 0.0
    suggested: dict[str, Any] = field(default_factory=dict)  # settings the environment itself asks for
    warnings: list[str] = field(default_factory=list)
    mask_in_observation: bool = False  # the mask is `observation["action_mask"]`
    texts: TextShare | None = None  # the texts of its observations
    rewarded: float = 0.0  # share of the steps whose reward was not 0
    reports_cost: bool = False  # `info["cost"]` at every step
    labelled: Callable[[], LabelledTexts] | None = None  # the environment's, if it knows classes of texts

    @property
    def all_warnings(self) -> list[str]:
        """The warnings, and those about texts, which depend on how the observation is read."""
        return [*self.warnings, *([] if self.texts is None else self.texts.warnings(self.observation))]

    @property
    def horizon(self) -> int | None:
        """The maximum length of an episode in steps, if known."""
        if self.episode_limit is not None:
            return self.episode_limit
        return max(self.lengths) if self.lengths and max(self.lengths) == self.longest else None

    @property
    def context(self) -> int:
        """The suggested context per layer in steps: the whole episode if episodes are short."""
        asked = self.suggested.get("context")
        if asked is not None:
            return int(asked)
        horizon = self.horizon
        return max(2, horizon) if horizon is not None and horizon <= WHOLE_EPISODE else LONG_CONTEXT


def probe(
    make: EnvMaker,
    *,
    seed: int = 0,
    steps: int = 1_000,
    episodes: int = 8,
    read_as: Mapping[str, Hint] | None = None,
) -> Probe:
    """Play up to `episodes` random episodes, at most `steps` steps in total, and replay the first steps of one.

    read_as: by path, "pixels" or "codes" for an integer grid, the largest number of entities of a Sequence, or the number of
    bytes of a text to read; overrides the environment's metadata (`metadata["seqel"] = {"observation": {path: "codes"}}`).

    Raises:
        SpaceError: a space is not supported, or its numbers do not fit float32. ConfigError: `read_as` is invalid.
        EnvironmentFault: the environment cannot be created, or breaks Gymnasium's contract.
    """
    env = make_checked(make)
    try:
        found = _play(env, seed, steps, episodes, dict(read_as or {}))
    finally:
        failed = env.shut()
    if failed:
        found.warnings.append(f"close failed: {failed}")
    return found


def _play(env: CheckedEnv, seed: int, steps: int, episodes: int, read_as: dict[str, Hint]) -> Probe:
    suggested = dict((env.metadata or {}).get("seqel", {}))
    read_as = dict(suggested.get("observation", {})) | read_as
    spec = ObservationSpec.from_space(env.observation_space, read_as)
    action = ActionSpec.from_space(env.action_space)
    watcher = Watcher(env.observation_space, spec, frozenset(read_as))
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    returns: list[float] = []
    low, high, longest, taken, rewarded = np.inf, -np.inf, 0, 0, 0
    texts = TextShare(spec)
    masked = success = False
    costs = True
    seconds = 0.0
    actions: list[Any] = []  # of the first episode, to play it again
    trace: list[Any] = []
    while taken < steps and len(lengths) < episodes:
        observation, info = env.reset(seed=(seed + len(lengths)) % REPORTS.stop)
        spec.flatten(observation, None)
        watcher.see(observation)
        if not trace:
            trace.append(copy.deepcopy(observation))
        texts.add(observation)
        length, total = 0, 0.0
        while taken < steps:
            mask = info.get(MASK)
            masked |= mask is not None
            choice = _random_action(rng, action, mask, env.action_space.dtype)
            began = time.perf_counter()
            observation, reward, terminated, truncated, info = env.step(choice)
            seconds += time.perf_counter() - began
            taken, length = taken + 1, length + 1
            spec.flatten(observation, None)
            watcher.see(observation)
            if not lengths and len(actions) < REPLAYED:
                actions.append(choice)
                trace.append((copy.deepcopy(observation), reward))
            low, high, total = min(low, reward), max(high, reward), total + reward
            rewarded += reward != 0.0
            success |= SUCCESS in info
            costs &= COST in info
            texts.add(observation)
            if terminated or truncated:
                lengths.append(length)
                returns.append(total)
                break
        longest = max(longest, length)
    watcher.require_distinct()
    limit = getattr(env.env.spec, "max_episode_steps", None) if env.env.spec is not None else None
    found = Probe(
        observation=spec,
        action=action,
        masked=masked or env.mask_in_observation,
        reports_success=success,
        episode_limit=limit,
        lengths=lengths,
        returns=returns,
        reward_range=(low, high),
        longest=longest,
        steps_per_second=taken / max(seconds, 1e-9),
        suggested=suggested,
        mask_in_observation=env.mask_in_observation,
        texts=texts,
        rewarded=rewarded / max(taken, 1),
        reports_cost=costs and taken > 0,
        labelled=getattr(env.env.unwrapped, "labelled_texts", None),
    )
    found.warnings.extend([*watcher.warnings(), *_warnings(found, taken)])
    differed = replays(env, seed % REPORTS.stop, actions, trace)
    if differed:
        found.warnings.append(
            f"reset(seed={seed}) and the same actions gave different results ({differed}): runs cannot be repeated, and "
            "open episodes are lost when a run is resumed. Call super().reset(seed=seed), and draw only from self.np_random"
        )
    return found


def _random_action(rng: np.random.Generator, action: ActionSpec, mask: Any, dtype: Any) -> Any:
    """An allowed action drawn evenly, as `action_space.sample()` gives it."""
    allowed = np.atleast_2d(action.unmasked if mask is None else mask)  # (M, A)
    drawn = [int(rng.choice(np.flatnonzero(row))) + start for row, start in zip(allowed, action.start, strict=True)]
    return dtype.type(drawn[0]) if action.dims == 1 else np.array(drawn, dtype)


def _warnings(found: Probe, taken: int) -> list[str]:
    said = []
    if not found.lengths:
        said.append(f"no random episode ended within {taken} steps: there are no returns until one ends")
        if found.episode_limit is None:
            said.append(
                "no time limit is declared: if the agent can avoid the end forever, training episodes never end and every "
                "validation episode is truncated. Add one (gymnasium.wrappers.TimeLimit, or max_episode_steps where it is "
                "registered)"
            )
    if found.reward_range == (0.0, 0.0):
        said.append("random play got no reward at all: the first reward must be found by chance, which may take long")
    return said
