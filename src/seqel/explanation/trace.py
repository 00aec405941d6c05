"""One greedy episode with everything that explanations need: observations, actions, rewards and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.vector import VectorStream, close_vector, make_vector, success_of
from seqel.errors import ConfigError
from seqel.types import QOutput, SequenceBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent

__all__ = ["EpisodeTrace", "decision_scores", "record_episode", "require_past", "scores", "window_of"]

LONGEST = 2_000  # recorded steps, at most: the memory of attention weights grows with the square


@dataclass(frozen=True, slots=True)
class EpisodeTrace:
    """One greedy episode of T steps (or its latest part), and the scores by which the agent chose at each step."""

    observation: dict[str, NDArray[Any]]  # leaves (T+1, *shape)
    action: NDArray[np.int64]  # (T,), or (T, M) where M > 1, counted from 0
    reward: NDArray[np.float32]  # (T,)
    q: NDArray[np.float32]  # (T, A), or (T, M, A) if M > 1: the scores acted on; -inf for masked actions
    success: float | None  # if the environment reports it
    start: int = 0  # number of the first step, if earlier ones are not known
    previous_action: NDArray[np.int64] | None = None  # (M,) of the step before `start`, counted from 0
    previous_reward: float = 0.0
    action_mask: NDArray[np.bool_] | None = None  # (T+1, A), or (T+1, M, A) if M > 1; None: every action is allowed

    def __len__(self) -> int:
        return len(self.action)


def record_episode(agent: Agent, env: str | EnvMaker, seed: int = 0, limit: int = LONGEST) -> EpisodeTrace:
    """Play one greedy episode, truncated after `limit` steps, and record everything.

    Raises:
        ConfigError: limit is below 1, or above 2,000.
        EnvironmentFault: the environment cannot be created, or fails.
    """
    if not 1 <= limit <= LONGEST:
        raise ConfigError(f"limit: expected 1 to {LONGEST:,} steps, got {limit}")
    envs = make_vector(resolve(env), 1)
    try:
        stream = VectorStream(envs, agent.observation_spec, agent.action_spec)
        stream.reset([seed])
        seen = {path: [leaf[0].copy()] for path, leaf in stream.current.items()}
        actions: list[NDArray[np.int64]] = []
        rewards: list[float] = []
        values: list[NDArray[np.float32]] = []
        masks = [stream.mask]
        state, reward, success = None, np.zeros(1, np.float32), None
        while len(actions) < limit:
            decision, state = agent.act(stream.current, state, reward=reward, first=stream.first, mask=stream.mask)
            action = decision.action - agent.action_spec.offset
            outcome = stream.step(action)
            reward = outcome.reward.astype(np.float32)
            for path, leaf in outcome.reached.items():
                seen[path].append(leaf[0].copy())
            actions.append(action[0])
            rewards.append(float(reward[0]))
            values.append(decision.q[0])
            masks.append(outcome.mask)
            if outcome.ended[0]:
                success = success_of(outcome.info, 0)
                break
    finally:
        close_vector(envs)
    return EpisodeTrace(
        {path: np.stack(leaves) for path, leaves in seen.items()},
        np.asarray(actions, np.int64),
        np.array(rewards, np.float32),
        np.stack(values),
        success,
        action_mask=_masks(masks),
    )


def _masks(masks: list[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """Return the masks of an episode, each (1, ...), as one array; steps that report none allow everything."""
    known = [mask for mask in masks if mask is not None]
    if not known:
        return None
    return np.concatenate([np.ones_like(known[0]) if mask is None else mask for mask in masks])


def scores(agent: Agent, out: QOutput) -> Tensor:
    """Return the agent's decision scores without masks: log-probabilities if its policy head decides, else Q-values, minus
    the penalty of costs where there is a limit.

    The shape is (..., M, A). If the policy head is only a constraint, the scores are Q-values.
    """
    if agent.network.config.policy_head == "greedy":
        return agent.network.scores(out)
    return out.preference


def decision_scores(agent: Agent, episode: EpisodeTrace) -> NDArray[np.float32]:
    """Return `scores` of the whole episode, from one forward pass, without masks: (T+1, A), or (T+1, M, A) if M > 1; -inf
    beyond a dimension's own size."""
    with torch.inference_mode():
        out = agent.network(window_of(agent, episode))
        found = scores(agent, out)[0]  # (T+1, M, A)
        if out.available is not None:
            found = found.masked_fill(~out.available, -torch.inf)
    found = found[:, 0] if agent.action_spec.dims == 1 else found
    return np.asarray(found.float().cpu().numpy(), np.float32)


def require_past(step: int, steps: int) -> None:
    """Raise ConfigError unless there are steps before `step`."""
    if not 1 <= step < steps:
        raise ConfigError(f"step: expected 1 to {steps - 1}, a step with earlier steps, got {step}")


def window_of(agent: Agent, episode: EpisodeTrace) -> SequenceBatch:
    """Return the episode as a batch of one window."""
    device, steps, dims = agent.device, len(episode), agent.action_spec.dims
    is_first = torch.zeros(1, steps + 1, dtype=torch.bool, device=device)
    is_first[:, 0] = episode.start == 0
    before = np.zeros(dims, np.int64) if episode.previous_action is None else episode.previous_action
    whole = torch.ones(1, steps, dtype=torch.bool, device=device)
    return SequenceBatch(
        observation={path: torch.from_numpy(leaf[None]).to(device) for path, leaf in episode.observation.items()},
        action=torch.from_numpy(episode.action.reshape(1, steps, dims)).to(device),
        reward=torch.from_numpy(episode.reward[None]).to(device),
        discount=whole.float(),
        is_first=is_first,
        valid=whole,
        loss_mask=whole,
        start_step=torch.full((1,), episode.start, dtype=torch.int64, device=device),
        previous_action=torch.from_numpy(before[None]).to(device),
        previous_reward=torch.full((1,), episode.previous_reward, device=device),
    )
