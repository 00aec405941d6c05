"""The trunk's states while an agent plays: what the detectors of unfamiliar states read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.seeds import require_for_reports
from seqel.errors import ConfigError
from seqel.evaluation.rollout import LONGEST, Acting, play

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from seqel.agents.agent import Agent
    from seqel.environments.vector import StepResult
    from seqel.networks.qnetwork import QNetwork
    from seqel.types import Decision

__all__ = ["PlayedStates", "captured_states", "play_states"]


@dataclass(frozen=True, slots=True)
class PlayedStates:
    """N steps of E greedy episodes, in the order in which they were played."""

    states: NDArray[np.float32]  # (N, D) after the trunk, before the heads
    scores: NDArray[np.float32]  # (N, A) or (N, M, A): decision scores, Q-values in return scales
    action: NDArray[np.int64]  # (N,) of the first dimension, counted from 0
    episode: NDArray[np.int64]  # (N,)
    returns: NDArray[np.float64]  # (E,)


@contextmanager
def captured_states(network: QNetwork) -> Iterator[list[NDArray[np.float32]]]:
    """Yield a list that gets the trunk's states (R, D) of each step, or (B, T+1, D) of each forward pass."""
    kept: list[NDArray[np.float32]] = []

    def keep(_: Any, arguments: tuple[Tensor, ...]) -> None:
        kept.append(arguments[0].detach().float().cpu().numpy().copy())

    handle = network.head.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def play_states(
    agent: Agent,
    env: str | EnvMaker,
    episodes: int = 100,
    seed: int = 0,
    *,
    environments: int = 32,
    limit: int = LONGEST,
    attacked: Acting | None = None,
    progress: Callable[[int], None] | None = None,
) -> PlayedStates:
    """Play greedy episodes and return the states of their steps.

    attacked: what plays in place of the agent, on the same network (`AttackedAgent`).

    Raises as `seqel.evaluate` does.
    """
    if episodes < 1 or limit < 1:
        raise ConfigError(f"expected at least 1 episode of at least 1 step, got {episodes} and {limit}")
    require_for_reports(seed, episodes)
    network = agent.network
    unit = 1.0 if network.config.policy_head == "greedy" else float(network.head.scale)
    steps: list[tuple[NDArray[Any], ...]] = []
    with captured_states(network) as kept:

        def watch(rows: NDArray[np.int64], decision: Decision, outcome: StepResult) -> None:
            live = rows >= 0
            action = (decision.action - agent.action_spec.offset).reshape(len(rows), -1)[:, 0]
            steps.append((kept[-1][live], decision.q[live] / unit, action[live], rows[live]))
            kept.clear()

        player: Acting = agent if attacked is None else attacked
        found = play(player, resolve(env), episodes, seed, min(environments, episodes), progress, limit, watch)
    states, scores, action, episode = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    return PlayedStates(states, scores, action.astype(np.int64), episode, np.array(found.returns))
