"""Policies to evaluate on recorded data: the probabilities of their actions at every step of a window."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.training.shielded_data import masks_within
from seqel.types import SequenceBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.replay.episode_buffer import EpisodeBuffer
    from seqel.spaces import ActionSpec

__all__ = ["AgentPolicy", "BehaviourPolicy", "ConstantAction", "Policy", "observation_slots"]


class Policy(Protocol):
    """A policy whose value is to be estimated."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """Return pi(a | history) at all T + 1 steps: (B, T+1, M, A) float32, or (B, T+1, A) if M = 1."""
        ...


@dataclass(frozen=True)
class AgentPolicy:
    """An agent's greedy action; with probability `epsilon`, an action chosen uniformly.

    What an agent's shield vetoes depends on whole histories, and a batch holds parts of them: such a policy is evaluated on
    the episodes of a buffer, for which `within_rules` reads their histories. `estimate_policies` calls it.
    """

    agent: Agent
    epsilon: float = 0.0
    name: str = "this agent"
    # (slots, M, A) what the shield and the recorded masks allow at each slot of a buffer; None: no shield, or no buffer yet
    allowed: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon <= 1.0:
            raise ConfigError(f"epsilon: expected 0 to 1, got {self.epsilon}")

    def within_rules(self, recorded: EpisodeBuffer) -> AgentPolicy:
        """Return the policy for batches of a buffer: with the agent's shield, if it has one.

        Raises DataError: an episode does not begin at its first step, or a recorded mask forbids all that the rules allow.
        """
        shield = self.agent.shield
        return self if shield is None else replace(self, allowed=masks_within(recorded, shield)[1])

    @torch.no_grad()
    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """See `Policy`. Raises ConfigError: the agent has a shield, and the policy is not from `within_rules`."""
        network, spec = self.agent.network, self.agent.action_spec
        if self.agent.shield is not None:
            if self.allowed is None:
                raise ConfigError(
                    "AgentPolicy: the agent has a shield, whose vetoes depend on whole histories: expected a policy from "
                    "`policy.within_rules(buffer)`, with the buffer of the recorded episodes"
                )
            mask = torch.from_numpy(self.allowed)[observation_slots(batch).cpu()]
            batch = replace(batch, action_mask=mask.to(batch.reward.device))
        given = batch.to(self.agent.device)
        chosen = network.scores(network(given), given.allowed).argmax(dim=-1)  # (B, T+1, M)
        greedy = torch.nn.functional.one_hot(chosen, spec.actions).float()
        return _plain((1.0 - self.epsilon) * greedy + self.epsilon * _even(given, spec.sizes))


@dataclass(frozen=True)
class ConstantAction:
    """The same action at every step, numbered from 0; where it is not allowed, an allowed one chosen uniformly.

    action and actions: a number and the number of actions; or, if an action has M dimensions, M numbers and the dimensions'
    sizes. Only the dimensions in which the action is not allowed are chosen uniformly.

    Raises ConfigError where there is no such action.
    """

    action: int | tuple[int, ...]
    actions: int | tuple[int, ...]
    name: str = ""

    def __post_init__(self) -> None:
        action, sizes = _each(self.action), _each(self.actions)
        if len(action) != len(sizes) or not all(0 <= a < n for a, n in zip(action, sizes, strict=True)):
            raise ConfigError(
                f"ConstantAction: expected an action of {self.actions}, numbered from 0, got {self.action}"
            )

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """See `Policy`."""
        even = _even(batch, _each(self.actions))
        action = torch.tensor(_each(self.action), device=even.device)  # (M,)
        this = torch.nn.functional.one_hot(action, even.shape[-1]).float().expand_as(even)
        mask = batch.allowed
        if mask is None:
            return _plain(this)
        allowed = mask.gather(-1, action[:, None].expand(*mask.shape[:-1], 1))  # (B, T+1, M, 1)
        return _plain(torch.where(allowed, this, even))


@dataclass(frozen=True)
class BehaviourPolicy:
    """The recorded actions; after a record's last step, where they are unknown, the overall frequencies.

    frequencies: (A,); or, where an action has M dimensions, a tuple of M tuples, each as long as its dimension.
    """

    frequencies: tuple[float, ...] | tuple[tuple[float, ...], ...]
    name: str = "as recorded"

    @classmethod
    def of(cls, actions: NDArray[np.int64], spec: ActionSpec) -> BehaviourPolicy:
        """From every recorded action, (N, M)."""
        counts = [np.bincount(column, minlength=size) for column, size in zip(actions.T, spec.sizes, strict=True)]
        found = tuple(tuple((one / one.sum()).tolist()) for one in counts)
        return cls(found[0] if len(found) == 1 else found)

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """See `Policy`."""
        rows: Any = self.frequencies if isinstance(self.frequencies[0], tuple) else (self.frequencies,)
        sizes = tuple(len(row) for row in rows)
        padded = [(*row, *([0.0] * (max(sizes) - len(row)))) for row in rows]
        device = batch.is_first.device
        overall = torch.tensor(padded, device=device).expand(*batch.is_first.shape, -1, -1)  # (B, T+1, M, A)
        if batch.allowed is not None:
            left = overall * batch.allowed
            total = left.sum(dim=-1, keepdim=True)
            overall = torch.where(total > 0, left / total.clamp(min=1e-9), _even(batch, sizes))
        taken = torch.nn.functional.one_hot(batch.action, max(sizes)).float()
        known = torch.where(batch.valid[..., None, None], taken, overall[:, :-1])
        return _plain(torch.cat([known, overall[:, -1:]], dim=1))


def observation_slots(batch: SequenceBatch) -> Tensor:
    """Return the slots of all T + 1 observations, (B, T+1); padding repeats the last slot of its row."""
    assert batch.storage_index is not None
    return torch.cat([batch.storage_index, batch.storage_index[:, -1:] + batch.valid[:, -1:]], dim=1)


def _each(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """A number for each dimension."""
    return value if isinstance(value, tuple) else (value,)


def _plain(probabilities: Tensor) -> Tensor:
    """Without the axis of dimensions where M = 1."""
    return probabilities[..., 0, :] if probabilities.shape[-2] == 1 else probabilities


def _even(batch: SequenceBatch, sizes: tuple[int, ...]) -> Tensor:
    """Return (B, T+1, M, A): uniform over the allowed actions; in padding that allows none, over all."""
    there = torch.arange(max(sizes), device=batch.is_first.device) < torch.tensor(
        sizes, device=batch.is_first.device
    ).unsqueeze(-1)
    mask = batch.allowed
    if mask is None:
        allowed = there.expand(*batch.is_first.shape, -1, -1)
    else:
        allowed = mask & there
        allowed = torch.where(allowed.any(dim=-1, keepdim=True), allowed, there)
    return allowed.float() / allowed.sum(dim=-1, keepdim=True)
