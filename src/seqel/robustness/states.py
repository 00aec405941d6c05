"""The trunk's states while an agent plays or reads recorded episodes: what the detectors of unfamiliar states read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.agents.matching import require_equal_spaces
from seqel.agents.reading import read_episodes
from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.seeds import require_for_reports
from seqel.evaluation.rollout import LONGEST, Acting, play

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from seqel.agents.agent import Agent
    from seqel.environments.vector import StepResult
    from seqel.networks.qnetwork import QNetwork
    from seqel.replay.episode_buffer import EpisodeBuffer
    from seqel.spaces import ActionSpec, ObservationSpec
    from seqel.types import Decision

__all__ = ["PlayedStates", "captured_states", "play_states", "read_states"]


@dataclass(frozen=True, slots=True)
class PlayedStates:
    """N steps of E episodes, in the order in which they were played or read."""

    states: NDArray[np.float32]  # (N, D) after the trunk, before the heads
    scores: NDArray[np.float32]  # (N, A) or (N, M, A): decision scores, Q-values in return scales
    action: NDArray[np.int64]  # (N,) of the first dimension, counted from 0
    episode: NDArray[np.int64]  # (N,)
    returns: NDArray[np.float64]  # (E,) of recorded episodes: what the recorded actions earned


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
    require_for_reports(seed, episodes, limit)
    network, unit = agent.network, _unit(agent)
    steps: list[tuple[NDArray[Any], ...]] = []
    with captured_states(network) as kept:

        def watch(rows: NDArray[np.int64], decision: Decision, outcome: StepResult) -> None:
            live = rows >= 0
            steps.append((kept[-1][live], decision.q[live] / unit, _first_action(agent, decision)[live], rows[live]))
            kept.clear()

        player: Acting = agent if attacked is None else attacked
        found = play(player, resolve(env), episodes, seed, min(environments, episodes), progress, limit, watch)
    return _joined(steps, np.array(found.returns))


def read_states(
    agent: Agent,
    buffer: EpisodeBuffer,
    spaces: tuple[ObservationSpec, ActionSpec],
    episodes: int = 100,
    seed: int = 0,
    *,
    progress: Callable[[int], None] | None = None,
) -> PlayedStates:
    """Let the agent read recorded episodes, drawn at random with `seed`, and return the states of their steps.

    Its memory follows the recorded actions; actions and scores are the agent's own.

    Args:
        spaces: of the recorded data.

    Raises ConfigError: no episodes. SpaceError: the data have other spaces than the agent.
    """
    require_equal_spaces("the data", spaces, "the agent's spaces", (agent.observation_spec, agent.action_spec))
    steps: list[tuple[NDArray[Any], ...]] = []
    returns: dict[int, float] = {}
    unit, done = _unit(agent), 0
    with captured_states(agent.network) as kept:
        for step in read_episodes(agent, buffer, episodes, seed):
            steps.append((kept[-1], step.decision.q / unit, _first_action(agent, step.decision), step.episode))
            kept.clear()
            for episode, reward in zip(step.episode.tolist(), step.reward.tolist(), strict=True):
                returns[episode] = returns.get(episode, 0.0) + reward
            done += int(step.last.sum())
            if progress is not None:
                progress(done)
    return _joined(steps, np.array([returns[episode] for episode in range(len(returns))]))


def _unit(agent: Agent) -> float:
    """The unit of decision scores: 1 for log-probabilities, otherwise the return scale."""
    network = agent.network
    return 1.0 if network.config.policy_head == "greedy" else float(network.head.scale)


def _first_action(agent: Agent, decision: Decision) -> NDArray[np.int64]:
    """The actions of the first dimension, counted from 0, (R,)."""
    return (decision.action - agent.action_spec.offset).reshape(len(decision.action), -1)[:, 0]


def _joined(steps: list[tuple[NDArray[Any], ...]], returns: NDArray[np.float64]) -> PlayedStates:
    states, scores, action, episode = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    return PlayedStates(states, scores, action.astype(np.int64), episode, returns)
