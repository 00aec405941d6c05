"""What a compressed agent costs: latency, drops in return in the same episodes, and decisions that differ."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.compression.tape import Follows, Tape, TapeStep
from seqel.spaces import FlatObservation

__all__ = ["RelativeDrop", "agreement", "latencies", "one_thread", "relative_drop"]

RESAMPLES = 2_000
TIMED, ROUNDS = 40, 5  # decisions per round, and rounds, in which the agents take turns
FILLED = 256  # steps at most that fill the memory first


@dataclass(frozen=True, slots=True)
class RelativeDrop:
    """A drop relative to the full agent, with its 95 % interval; negative: a gain."""

    value: float
    low: float
    high: float

    def within(self, most: float, strict: bool = False) -> bool:
        """Return whether the drop is at most `most`; with `strict`, whether its whole interval is."""
        return (self.high if strict else self.value) <= most


def relative_drop(full: NDArray[np.floating], less: NDArray[np.floating], seed: int = 0) -> RelativeDrop:
    """Return mean(less) / |mean(full)| with its percentile-bootstrap interval over episodes (Efron 1979).

    full (n,): the full agent's return of each episode, or another number to compare with; less (n,): by how much the other
    agent has less in the same episode. Episodes are drawn as pairs. If the mean of `full` is 0, every drop is infinite.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(full), size=(RESAMPLES, len(full)))
    resampled = [_ratio(float(less[row].mean()), float(full[row].mean())) for row in rows]
    low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
    return RelativeDrop(_ratio(float(less.mean()), float(full.mean())), float(low), float(high))


def _ratio(less: float, full: float) -> float:
    if full == 0.0:
        return 0.0 if less == 0.0 else math.copysign(math.inf, less)
    return less / abs(full)


def agreement(tape: Tape, first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[float, RelativeDrop]:
    """Return the share of the tape's steps with the same actions, and the drop of that share with an interval over episodes.

    one, other (steps, R, M).
    """
    episode = np.stack([step.episode for step in tape])
    live = episode >= 0
    number = np.unique(episode[live], return_inverse=True)[1]
    differs = (first != second).any(axis=-1)[live].astype(np.float64)
    steps = np.bincount(number).astype(np.float64)
    drop = relative_drop(steps, np.bincount(number, weights=differs).astype(np.float64))
    return 1.0 - float(differs.mean()), drop


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def latencies(agents: Mapping[str, Follows], tape: Tape, context: int) -> dict[str, float]:
    """Return the median time of a decision for one row with full memory, in ms, on one core.

    The agents take turns, so that a machine that is busy for a while slows all of them.
    """
    row = [_row(step) for step in tape[:FILLED]]
    states: dict[str, Any] = dict.fromkeys(agents)
    times: dict[str, list[float]] = {name: [] for name in agents}
    with one_thread():
        for name, agent in agents.items():
            for number in range(min(context, FILLED) + 1):
                _, states[name] = _act(agent, states[name], row[number % len(row)], first=number == 0)
        for _ in range(ROUNDS):
            for name, agent in agents.items():
                for number in range(TIMED):
                    step = row[number % len(row)]
                    began = time.perf_counter()
                    _, states[name] = _act(agent, states[name], step, first=False)
                    times[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(some) for name, some in times.items()}


def _row(step: TapeStep) -> TapeStep:
    """Return the first row of a step, as a batch of one."""
    observation = FlatObservation({path: leaf[:1] for path, leaf in step.observation.items()})
    mask = None if step.mask is None else step.mask[:1]
    return replace(step, observation=observation, reward=step.reward[:1], mask=mask)


def _act(agent: Follows, state: Any, step: TapeStep, first: bool) -> Any:
    return agent.act(step.observation, state, reward=step.reward, first=np.array([first]), mask=step.mask)
