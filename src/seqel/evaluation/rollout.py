"""Greedy episodes on fresh seeds, in parallel, and the statistics of their returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seqel.agents.matching import require_equal_names, require_equal_spaces
from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.seeds import require_for_reports
from seqel.environments.vector import StepResult, VectorStream, close_vector, cost_of, make_vector, success_of
from seqel.evaluation.statistics import bootstrap_interval, interquartile_mean, success_interval
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import Decision

__all__ = ["Acting", "Evaluation", "evaluate", "play"]

# what sees each step: the number of the episode in each row (-1: idle), the decisions, and what they led to
Watch = Callable[[NDArray[np.int64], Decision, StepResult], None]
LONGEST = 100_000  # steps per episode: without a limit, a greedy agent may walk in circles forever


class Acting(Protocol):
    """An object that can play episodes: an `Agent`, or an exported agent."""

    @property
    def observation_spec(self) -> ObservationSpec:
        """The leaves of the observation."""
        ...

    @property
    def action_spec(self) -> ActionSpec:
        """The action space."""
        ...

    def act(
        self, observation: Any, state: Any = None, *, reward: Any = ..., first: Any = ..., mask: Any = ...
    ) -> tuple[Decision, Any]:
        """Choose an action in each row; see `Agent.act`."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Returns of greedy episodes; episode n used the seed `seed + n`, unless several sets of episodes were pooled."""

    mean: float
    iqm: float  # interquartile mean
    interval: tuple[float, float]  # 95 % bootstrap interval of the mean
    success: float | None  # success rate, if the environment reports `is_success`
    success_interval: tuple[float, float] | None  # 95 % Wilson interval; bootstrap if successes are fractions
    returns: list[float]
    lengths: list[int]
    seed: int
    truncated: int = 0  # number of episodes that were truncated at `limit`
    successes: list[float] | None = None  # of each episode, if the environment reports it
    cost: float | None = None  # mean cost per episode, if the environment reports `cost` at every step
    cost_interval: tuple[float, float] | None = None  # 95 % bootstrap interval
    costs: list[float] | None = None  # of each episode

    def as_json(self) -> dict[str, Any]:
        """Return the figures as metrics.jsonl holds them: without single episodes; None for figures that are not finite."""
        figures = {field.name: getattr(self, field.name) for field in fields(self)}
        for single in ("returns", "lengths", "successes", "costs"):
            del figures[single]
        figures["interval"] = [value if math.isfinite(value) else None for value in self.interval]
        return figures | {"episodes": len(self.returns)}

    def evidence(self) -> dict[str, Any]:
        """Return what a saved agent keeps about the episodes that selected it, besides the mean and the success rate."""
        figures = self.as_json()
        return {name: figures[name] for name in ("interval", "success_interval", "cost", "episodes")}

    def scalars(self) -> dict[str, float]:
        """Return the mean return, and the success rate if there is one, under TensorBoard's names."""
        success = {} if self.success is None else {"validation/success": self.success}
        return {"validation/return": self.mean, **success}

    def __str__(self) -> str:
        text = f"mean return {self.mean:.3f}, 95 % [{self.interval[0]:.3f}, {self.interval[1]:.3f}], iqm {self.iqm:.3f}"
        if self.success is not None and self.success_interval is not None:
            low, high = self.success_interval
            text += f"; success {self.success:.1%}, 95 % [{low:.1%}, {high:.1%}]"
        if self.cost is not None and self.cost_interval is not None:
            text += f"; cost {self.cost:.3f}, 95 % [{self.cost_interval[0]:.3f}, {self.cost_interval[1]:.3f}]"
        truncated = f", {self.truncated} of them truncated" if self.truncated else ""
        return f"{text}; {len(self.returns)} episodes{truncated}"


def evaluate(
    agent: Acting,
    env: str | EnvMaker,
    episodes: int = 100,
    seed: int = 0,
    *,
    environments: int = 32,
    limit: int = LONGEST,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play greedy episodes and return their statistics.

    Episode n is reset with seed + n, however many are played in parallel, so short episodes are not over-counted.

    Args:
        agent: an `Agent`, or an exported agent.
        env: an id, "module:Class", or a function (or class) without arguments that creates an environment.
        episodes: number of episodes.
        seed: seed of the first episode.
        environments: maximum number of parallel environments.
        limit: steps after which an episode is truncated. Its return so far counts, it is not a success, and
            `Evaluation.truncated` counts it.
        progress: a function to call with the number of finished episodes.

    Raises:
        ConfigError: no episodes, or seeds of 2^30 or more, which are reserved for training and validation.
        SpaceError: the environment's spaces are not those that the agent was trained on.
    """
    require_for_reports(seed, episodes, limit)
    return play(agent, resolve(env), episodes, seed, min(environments, episodes), progress, limit)


def play(
    agent: Acting,
    make: EnvMaker,
    episodes: int,
    seed: int,
    environments: int,
    progress: Callable[[int], None] | None = None,
    limit: int = LONGEST,
    watch: Watch | None = None,
) -> Evaluation:
    """Like `evaluate`, but without its check of the seed, because validation uses reserved seeds. `watch` gets each step."""
    envs = make_vector(make, environments)
    try:
        found = (
            agent.observation_spec.same_reading(envs.single_observation_space),
            ActionSpec.from_space(envs.single_action_space),
        )  # fmt: skip
        trained = (agent.observation_spec, agent.action_spec)
        require_equal_spaces("the environment", found, "the spaces that the agent was trained on", trained)
        require_equal_names(envs.metadata, agent)
        stream = VectorStream(envs, agent.observation_spec, agent.action_spec)
        return play_on(agent, stream, episodes, seed, progress, limit, watch)
    finally:
        close_vector(envs)


def play_on(
    agent: Acting,
    stream: VectorStream,
    episodes: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    limit: int = LONGEST,
    watch: Watch | None = None,
) -> Evaluation:
    """Like `play`, in existing environments; they are left wherever the last episodes ended."""
    returns, lengths, success, truncated, costs = _run(agent, stream, episodes, seed, progress, limit, watch)
    return summarise(returns, lengths, success, seed, truncated, costs)


def summarise(returns: Any, lengths: Any, success: Any, seed: int, truncated: int = 0, costs: Any = None) -> Evaluation:
    """Compute an `Evaluation` from per-episode numbers; success and costs hold NaN where none was reported."""
    priced = costs is not None and not np.isnan(costs).any()
    known = not np.isnan(success).any()
    within = None
    if known:
        binary = bool(np.isin(success, (0.0, 1.0)).all())
        within = success_interval(int(np.sum(success)), len(success)) if binary else bootstrap_interval(success)
    return Evaluation(
        mean=float(np.mean(returns)),
        iqm=float(interquartile_mean(returns)),
        interval=bootstrap_interval(returns),
        success=float(np.mean(success)) if known else None,
        success_interval=within,
        returns=[float(r) for r in returns],
        lengths=[int(n) for n in lengths],
        seed=seed,
        truncated=truncated,
        successes=[float(s) for s in success] if known else None,
        cost=float(np.mean(costs)) if priced else None,
        cost_interval=bootstrap_interval(costs) if priced else None,
        costs=[float(one) for one in costs] if priced else None,
    )


def pooled(first: Evaluation, second: Evaluation) -> Evaluation:
    """Return the figures of both sets of episodes together; `seed` is that of the first."""
    success = [math.nan] if first.successes is None or second.successes is None else first.successes + second.successes
    returns, lengths = first.returns + second.returns, first.lengths + second.lengths
    costs = None if first.costs is None or second.costs is None else first.costs + second.costs
    return summarise(returns, lengths, success, first.seed, first.truncated + second.truncated, costs)


def _run(
    agent: Acting,
    stream: VectorStream,
    episodes: int,
    seed: int,
    progress: Callable[[int], None] | None,
    limit: int,
    watch: Watch | None,
) -> tuple[Any, Any, Any, int, Any]:
    count = stream.count
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    success, truncated = np.full(episodes, np.nan), np.zeros(episodes, bool)
    costs = np.zeros(episodes)
    age = np.zeros(count, np.int64)  # steps taken in each row's episode
    number = np.arange(count)  # which episode each row plays; `episodes` and above: idle
    following = count
    stream.reset([seed + i for i in range(count)])
    state, reward, done_count = None, np.zeros(count, np.float32), 0
    while done_count < episodes:
        decision, state = agent.act(stream.current, state, reward=reward, first=stream.first, mask=stream.mask)
        outcome = stream.step(decision.action - agent.action_spec.offset)
        reward = outcome.reward.astype(np.float32)
        if watch is not None:
            watch(np.where(number < episodes, number, -1), decision, outcome)
        live = number < episodes
        returns[number[live]] += outcome.reward[live]
        lengths[number[live]] += 1
        cost = cost_of(outcome.info, count)
        costs[number[live]] += np.nan if cost is None else cost[live]
        age += 1
        over = outcome.ended | (age >= limit)
        if not over.any():
            continue
        for row in np.flatnonzero(over).tolist():
            if number[row] < episodes:
                truncated[number[row]] = not outcome.ended[row]
                reported = success_of(outcome.info, row)
                success[number[row]] = np.nan if reported is None else reported
                done_count += 1
            number[row] = following
            following += 1
        seeds = [seed + min(int(number[i]), episodes - 1) if over[i] else None for i in range(count)]
        stream.reset(seeds, over)
        age[over], reward[over] = 0, 0.0
        if progress is not None:
            progress(min(done_count, episodes))
    if not np.isnan(success[~truncated]).any() and not truncated.all():
        success[truncated & np.isnan(success)] = (
            0.0  # success is reported at an episode's end, which these did not reach
        )
    return returns, lengths, success, int(truncated.sum()), costs
