"""Greedy episodes on fresh seeds, in parallel, and what can be said about their returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from seqel.agents.agent import Agent
from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.vector import VectorStream, make_vector, success_of
from seqel.errors import ConfigError, SpaceError
from seqel.evaluation.statistics import bootstrap_interval, interquartile_mean, success_interval
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["Evaluation", "evaluate", "play"]

SEED_LIMIT = 1 << 30  # seeds from here on belong to validation and training
LONGEST = 100_000  # steps of an episode: a greedy agent may walk in circles for ever where nothing sets a limit


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Returns of greedy episodes; episode n had the seed `seed + n`."""

    mean: float
    iqm: float  # interquartile mean
    interval: tuple[float, float]  # 95 % bootstrap interval of the mean
    success: float | None  # rate, where the environment reports `is_success`
    success_interval: tuple[float, float] | None  # 95 % Wilson interval
    returns: list[float]
    lengths: list[int]
    seed: int
    cut: int = 0  # how many of the episodes did not end by themselves, but by `limit`

    name: ClassVar[str] = "validation/return"  # of `mean`, in TensorBoard

    def as_json(self) -> dict[str, Any]:
        """The figures as metrics.jsonl holds them: without the single episodes, and None where a figure is not finite."""
        figures = {field.name: getattr(self, field.name) for field in fields(self)}
        del figures["returns"], figures["lengths"]
        figures["interval"] = [value if math.isfinite(value) else None for value in self.interval]
        return figures | {"episodes": len(self.returns)}

    def evidence(self) -> dict[str, Any]:
        """What a saved agent says about the validation that it was chosen by, beside the mean."""
        return {"interval": list(self.interval), "episodes": len(self.returns)}

    def __str__(self) -> str:
        text = f"mean return {self.mean:.3f}, 95 % [{self.interval[0]:.3f}, {self.interval[1]:.3f}], iqm {self.iqm:.3f}"
        if self.success is not None and self.success_interval is not None:
            low, high = self.success_interval
            text += f"; success {self.success:.1%}, 95 % [{low:.1%}, {high:.1%}]"
        cut = f", {self.cut} of them cut off" if self.cut else ""
        return f"{text}; {len(self.returns)} episodes{cut}"


def evaluate(
    agent: Agent,
    env: str | EnvMaker,
    episodes: int = 100,
    seed: int = 0,
    *,
    environments: int = 32,
    limit: int = LONGEST,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play `episodes` greedy episodes and report their returns with intervals.

    Episode n is reset with seed + n whatever the parallelism, so short episodes are not over-counted. One that has not
    ended after `limit` steps is cut off there, counted with what it earned, as no success, and told in `cut`.

    Raises:
        ConfigError: no episodes, or a seed of 2^30 or more (kept for training and validation).
        SpaceError: the environment's spaces are not those the agent was trained on.
    """
    if episodes < 1:
        raise ConfigError(f"episodes: expected at least 1, got {episodes}")
    if not 0 <= seed < SEED_LIMIT:
        raise ConfigError(f"seed: expected 0 to {SEED_LIMIT - 1} (higher ones belong to training), got {seed}")
    if limit < 1:
        raise ConfigError(f"limit: expected at least 1 step, got {limit}")
    return play(agent, resolve(env), episodes, seed, min(environments, episodes), progress, limit)


def play(
    agent: Agent,
    make: EnvMaker,
    episodes: int,
    seed: int,
    environments: int,
    progress: Callable[[int], None] | None = None,
    limit: int = LONGEST,
) -> Evaluation:
    """`evaluate` without its checks of the seed: validation uses the seeds above the limit."""
    envs = make_vector(make, environments)
    try:
        _require_same_spaces(agent, envs)
        stream = VectorStream(envs, agent.observation_spec, agent.action_spec)
        returns, lengths, success, cut = _run(agent, stream, episodes, seed, progress, limit)
    finally:
        envs.close()
    return summarise(returns, lengths, success, seed, cut)


def summarise(returns: Any, lengths: Any, success: Any, seed: int, cut: int = 0) -> Evaluation:
    """Per-episode numbers -> an `Evaluation`; success holds NaN where none was reported."""
    known = not np.isnan(success).any()
    return Evaluation(
        mean=float(np.mean(returns)),
        iqm=float(interquartile_mean(returns)),
        interval=bootstrap_interval(returns),
        success=float(np.mean(success)) if known else None,
        success_interval=success_interval(int(np.sum(success)), len(success)) if known else None,
        returns=[float(r) for r in returns],
        lengths=[int(n) for n in lengths],
        seed=seed,
        cut=cut,
    )


def _run(
    agent: Agent, stream: VectorStream, episodes: int, seed: int, progress: Callable[[int], None] | None, limit: int
) -> tuple[Any, Any, Any, int]:
    count = stream.count
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    success, cut = np.full(episodes, np.nan), np.zeros(episodes, bool)
    age = np.zeros(count, np.int64)  # steps of each row's episode
    number = np.arange(count)  # which episode each row plays; `episodes` and above: idle
    following = count
    stream.reset([seed + i for i in range(count)])
    state, reward, done_count = None, np.zeros(count, np.float32), 0
    while done_count < episodes:
        decision, state = agent.act(stream.current, state, reward=reward, first=stream.first, mask=stream.mask)
        outcome = stream.step(decision.action - agent.action_spec.start[0])
        reward = outcome.reward.astype(np.float32)
        live = number < episodes
        returns[number[live]] += outcome.reward[live]
        lengths[number[live]] += 1
        age += 1
        over = outcome.ended | (age >= limit)
        if not over.any():
            continue
        for row in np.flatnonzero(over).tolist():
            if number[row] < episodes:
                cut[number[row]] = not outcome.ended[row]
                reported = success_of(outcome.info, row)
                success[number[row]] = np.nan if reported is None else reported
                done_count += 1
            number[row] = following
            following += 1
        seeds = [seed + int(number[i]) if over[i] else None for i in range(count)]
        stream.reset(seeds, over)
        age[over], reward[over] = 0, 0.0
        if progress is not None:
            progress(min(done_count, episodes))
    if not np.isnan(success[~cut]).any() and not cut.all():
        success[cut & np.isnan(success)] = 0.0  # success is reported at the end, and these saw none
    return returns, lengths, success, int(cut.sum())


def _require_same_spaces(agent: Agent, envs: Any) -> None:
    observation = ObservationSpec.from_space(envs.single_observation_space)
    action = ActionSpec.from_space(envs.single_action_space)
    if observation != agent.observation_spec:
        raise SpaceError(
            f"the environment observes {[str(leaf) for leaf in observation.leaves]}, the agent was trained on "
            f"{[str(leaf) for leaf in agent.observation_spec.leaves]}"
        )
    if action != agent.action_spec:
        raise SpaceError(f"the environment has the actions {action}, the agent was trained on {agent.action_spec}")
