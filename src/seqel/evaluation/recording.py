"""Greedy episodes, recorded step by step: the value of each chosen action, the action and the reward."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.agents.agent import Agent
from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.seeds import require_for_reports
from seqel.errors import CheckpointError
from seqel.evaluation.rollout import LONGEST, Evaluation, play, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from seqel.environments.vector import StepResult
    from seqel.types import Decision, QOutput

__all__ = ["PlayedEpisodes", "play_recorded"]


@dataclass(frozen=True, slots=True)
class PlayedEpisodes:
    """E greedy episodes with N steps in all, episode by episode; episode n was reset with the seed `seed + n`."""

    q: NDArray[np.float32]  # (N,) the value of the chosen action, in units of reward; a mean over dimensions if M > 1
    reward: NDArray[np.float64]  # (N,)
    action: NDArray[np.int64]  # (N, M), counted from 0
    lengths: NDArray[np.int64]  # (E,)
    terminated: NDArray[np.bool_]  # (E,) False: truncated by the environment, or by the limit
    success: NDArray[np.float64]  # (E,) nan: not reported
    seed: int
    truncated: int = 0  # number of episodes that were truncated at the limit

    @property
    def starts(self) -> NDArray[np.int64]:
        """The place of each episode's first step, (E,)."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def returns(self) -> NDArray[np.float64]:
        """The undiscounted return of each episode, (E,)."""
        episode = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.asarray(
            np.bincount(episode, self.reward), np.float64
        )  # adds in the order of the steps, as `evaluate` does

    def evaluation(self) -> Evaluation:
        """Return the figures of `seqel evaluate`."""
        return summarise(self.returns, self.lengths, self.success, self.seed, self.truncated)

    def as_tree(self) -> dict[str, Any]:
        """Return the fields by name, for `stored_trees.save_tree`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_tree(cls, tree: Any) -> PlayedEpisodes:
        """Read what `as_tree` returned. Raises CheckpointError if it is something else."""
        names = [one.name for one in fields(cls)]
        if not isinstance(tree, dict) or sorted(tree) != sorted(names):
            raise CheckpointError(
                f"episodes: expected {names}, got {list(tree) if isinstance(tree, dict) else tree!r:.80}"
            )
        arrays = ("q", "reward", "action", "lengths", "terminated", "success")
        if not all(isinstance(tree[name], np.ndarray) for name in arrays) or tree["action"].ndim != 2:
            raise CheckpointError(f"episodes: expected arrays under {arrays}")
        found = cls(**tree)
        steps, episodes = len(found.reward), len(found.lengths)
        whole = episodes > 0 and bool((found.lengths > 0).all()) and int(found.lengths.sum()) == steps
        if not whole or not len(found.q) == len(found.action) == steps:
            raise CheckpointError(
                f"episodes: expected the steps of whole episodes, got {steps} steps of {episodes} episodes"
            )
        if not len(found.terminated) == len(found.success) == episodes:
            raise CheckpointError(f"episodes: expected one end for each of {episodes} episodes")
        return found


class _ValuedAgent(Agent):
    """An agent that keeps the Q-values of its latest step, which are not its scores if its policy head decides."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent.network, agent.info)
        self.values = np.zeros((0, 0, 0), np.float32)

    def scores(self, out: QOutput, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        self.values = out.q.float().cpu().numpy()  # (R, M, A)
        return super().scores(out, mask)


def play_recorded(
    agent: Agent,
    env: str | EnvMaker,
    episodes: int = 100,
    seed: int = 0,
    *,
    environments: int = 32,
    limit: int = LONGEST,
    progress: Callable[[int], None] | None = None,
) -> PlayedEpisodes:
    """Play greedy episodes, exactly those of `seqel.evaluate`, and record their steps.

    Raises as `seqel.evaluate` does.
    """
    require_for_reports(seed, episodes, limit)
    valued = _ValuedAgent(agent)
    steps: list[list[tuple[float, float, NDArray[np.int64]]]] = [[] for _ in range(episodes)]
    terminated = np.zeros(episodes, bool)

    def watch(rows: NDArray[np.int64], decision: Decision, outcome: StepResult) -> None:
        action = decision.action - agent.action_spec.offset
        action = action.reshape(len(action), -1)  # (R, M)
        chosen = np.take_along_axis(valued.values, action[..., None], axis=-1)[..., 0].mean(axis=1)
        for row in np.flatnonzero(rows >= 0).tolist():
            episode = int(rows[row])
            steps[episode].append((float(chosen[row]), float(outcome.reward[row]), action[row]))
            terminated[episode] = outcome.terminated[row]

    found = play(valued, resolve(env), episodes, seed, min(environments, episodes), progress, limit, watch)
    every = [step for episode in steps for step in episode]
    success = np.full(episodes, np.nan) if found.successes is None else np.array(found.successes)
    return PlayedEpisodes(
        q=np.array([q for q, _, _ in every], np.float32),
        reward=np.array([reward for _, reward, _ in every], np.float64),
        action=np.stack([action for _, _, action in every]).astype(np.int64),
        lengths=np.array([len(episode) for episode in steps], np.int64),
        terminated=terminated,
        success=success,
        seed=seed,
        truncated=found.truncated,
    )
