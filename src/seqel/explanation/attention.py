"""Which past steps a decision looked at: one greedy episode, watched, and the attention weights of its network.

Attention says where the network looked, not what would have changed its mind: a cue can be handed on from step to step,
and then no head looks at it from the decision. `occlusion` hides each past step in turn, `counterfactual` replaces one
observation by another. All are given, because each alone can mislead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqel.environments.resolve import EnvMaker, resolve
from seqel.environments.vector import VectorStream, make_vector, success_of
from seqel.errors import ConfigError
from seqel.types import SequenceBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent

__all__ = [
    "EpisodeTrace",
    "Focus",
    "attention",
    "counterfactual",
    "occlusion",
    "q_values",
    "record_episode",
    "strongest_head",
]

HIDDEN = 64  # episodes with a hidden step that are looked at together
LONGEST = 2_000  # steps of an episode that are watched: the weights take the square of it


@dataclass(frozen=True, slots=True)
class EpisodeTrace:
    """One greedy episode of T steps, and what the agent thought at each."""

    observation: dict[str, NDArray[Any]]  # leaves (T+1, *shape)
    action: NDArray[np.int64]  # (T,) counted from 0
    reward: NDArray[np.float32]  # (T,)
    q: NDArray[np.float32]  # (T, A) as acted on
    success: float | None  # where the environment reports it

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True, slots=True)
class Focus:
    """Where one attention head looked hardest: `share` of its weight on step `step`. All counted from 0."""

    layer: int
    head: int
    step: int
    share: float


def record_episode(agent: Agent, env: str | EnvMaker, seed: int = 0) -> EpisodeTrace:
    """Play one greedy episode (its first LONGEST steps, where it is longer) and keep everything.

    Raises:
        EnvironmentFault: the environment cannot be made, or fails.
    """
    envs = make_vector(resolve(env), 1)
    try:
        stream = VectorStream(envs, agent.observation_spec, agent.action_spec)
        stream.reset([seed])
        seen = {path: [leaf[0].copy()] for path, leaf in stream.current.items()}
        actions: list[int] = []
        rewards: list[float] = []
        values: list[NDArray[np.float32]] = []
        state, reward, success = None, np.zeros(1, np.float32), None
        while len(actions) < LONGEST:
            decision, state = agent.act(stream.current, state, reward=reward, first=stream.first, mask=stream.mask)
            action = decision.action - agent.action_spec.start[0]
            outcome = stream.step(action)
            reward = outcome.reward.astype(np.float32)
            for path, leaf in outcome.reached.items():
                seen[path].append(leaf[0].copy())
            actions.append(int(action[0]))
            rewards.append(float(reward[0]))
            values.append(decision.q[0])
            if outcome.ended[0]:
                success = success_of(outcome.info, 0)
                break
    finally:
        envs.close()
    return EpisodeTrace(
        {path: np.stack(leaves) for path, leaves in seen.items()},
        np.array(actions, np.int64),
        np.array(rewards, np.float32),
        np.stack(values),
        success,
    )


def q_values(agent: Agent, episode: EpisodeTrace) -> NDArray[np.float32]:
    """What the network says about the whole episode in one pass.  -> (T+1, A), masks not applied."""
    with torch.inference_mode():
        q = agent.network(_batch(agent, episode)).q  # (1, T+1, M, A)
    return np.asarray(q[0, :, 0].float().cpu().numpy(), np.float32)


def attention(agent: Agent, episode: EpisodeTrace) -> NDArray[np.float32]:
    """The weights of every layer and head.  -> (layers, H, T+1, T+1), rows are the steps that look.

    Raises:
        ConfigError: the trunk has no attention.
    """
    return np.asarray(agent.network.attention(_batch(agent, episode))[0].float().cpu().numpy(), np.float32)


def strongest_head(weights: NDArray[np.float32], step: int) -> Focus:
    """The head that puts the most weight on one single step of the past, seen from `step`.

    weights (layers, H, T, T). The step itself does not count as past: looking at what is seen now is no memory.

    Raises:
        ConfigError: `step` has no past.
    """
    _check_past(step, weights.shape[-1])
    past = weights[:, :, step, :step]  # (layers, H, step)
    layer, head, best = (int(n) for n in np.unravel_index(int(past.argmax()), past.shape))
    return Focus(layer, head, best, float(past[layer, head, best]))


def occlusion(agent: Agent, episode: EpisodeTrace, step: int) -> NDArray[np.float32]:
    """How much the decision at `step` rests on each step before it.  -> (step,), never negative, in units of reward.

    Each step in turn is hidden: its token is replaced by the mean token of the steps before `step`. What is measured is
    the largest change of an action's advantage (its value less the mean over actions) at `step`.
    Occlusion, Zeiler & Fergus 2014, arXiv:1311.2901. Differs: a token is hidden, not a patch of an image.

    Raises:
        ConfigError: `step` has no past.
    """
    _check_past(step, len(episode) + 1)
    batch, network = _batch(agent, episode), agent.network

    def advantage(tokens: Tensor) -> Tensor:  # (N, T+1, D) -> (N, M, A)
        rows = len(tokens)
        h = network.trunk(tokens, batch.is_first.expand(rows, -1), batch.start_step.expand(rows))
        q: Tensor = network.head(h).q[:, step]
        return q - q.mean(dim=-1, keepdim=True)

    with torch.inference_mode():
        tokens = network.embed(batch)
        mean, base = tokens[0, :step].mean(dim=0), advantage(tokens)
        found = []
        for begin in range(0, step, HIDDEN):
            hidden = torch.arange(begin, min(begin + HIDDEN, step), device=tokens.device)
            other = tokens.repeat(len(hidden), 1, 1)
            other[torch.arange(len(hidden), device=tokens.device), hidden] = mean
            found.append((advantage(other) - base).abs().flatten(1).amax(dim=1))
    return np.asarray(torch.cat(found).float().cpu().numpy(), np.float32)


def counterfactual(agent: Agent, episode: EpisodeTrace, step: int, leaf: str, value: Any) -> NDArray[np.float32]:
    """Q-values (T+1, A) of the same episode, had the observation of one step been another; nothing else differs.

    Raises:
        ConfigError: there is no such step or leaf.
    """
    if leaf not in episode.observation or not 0 <= step <= len(episode):
        raise ConfigError(
            f"expected a step from 0 to {len(episode)} and one of {sorted(episode.observation)}, got {step} and {leaf!r}"
        )
    other = episode.observation[leaf].copy()
    other[step] = value
    return q_values(agent, replace(episode, observation={**episode.observation, leaf: other}))


def _check_past(step: int, steps: int) -> None:
    if not 1 <= step < steps:
        raise ConfigError(f"step: expected 1 to {steps - 1}, a step that has a past, got {step}")


def _batch(agent: Agent, episode: EpisodeTrace) -> SequenceBatch:
    """The episode as one window."""
    device, steps = agent.device, len(episode)
    first = torch.zeros(1, steps + 1, dtype=torch.bool, device=device)
    first[:, 0] = True
    whole = torch.ones(1, steps, dtype=torch.bool, device=device)
    return SequenceBatch(
        observation={path: torch.from_numpy(leaf[None]).to(device) for path, leaf in episode.observation.items()},
        action=torch.from_numpy(episode.action[None, :, None]).to(device),
        reward=torch.from_numpy(episode.reward[None]).to(device),
        discount=whole.float(),
        is_first=first,
        valid=whole,
        loss_mask=whole,
        start_step=torch.zeros(1, dtype=torch.int64, device=device),
        previous_action=torch.zeros(1, 1, dtype=torch.int64, device=device),
        previous_reward=torch.zeros(1, device=device),
    )
