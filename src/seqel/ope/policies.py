"""Policies to evaluate on recorded data: the probabilities of their actions at every step of a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.types import SequenceBatch

__all__ = ["AgentPolicy", "BehaviourPolicy", "ConstantAction", "Policy"]


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
    """An agent's greedy action; with probability `epsilon`, an action chosen uniformly."""

    agent: Agent
    epsilon: float = 0.0
    name: str = "this agent"

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon <= 1.0:
            raise ConfigError(f"epsilon: expected 0 to 1, got {self.epsilon}")

    @torch.no_grad()
    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """See `Policy`."""
        network = self.agent.network
        given = batch.to(self.agent.device)
        chosen = network.scores(network(given), given.allowed).argmax(dim=-1)[..., 0]  # (B, T+1)
        greedy = torch.nn.functional.one_hot(chosen, self.agent.action_spec.actions).float()
        return (1.0 - self.epsilon) * greedy + self.epsilon * _even(given, self.agent.action_spec.actions)


@dataclass(frozen=True)
class ConstantAction:
    """The same action at every step, numbered from 0; where it is not allowed, an allowed one chosen uniformly."""

    action: int
    actions: int
    name: str = ""

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """See `Policy`."""
        even = _even(batch, self.actions)
        this = torch.zeros_like(even)
        this[..., self.action] = 1.0
        return this if batch.action_mask is None else torch.where(batch.action_mask[..., self.action, None], this, even)


@dataclass(frozen=True)
class BehaviourPolicy:
    """The recorded actions; after a record's last step, where they are unknown, the overall frequencies (A,)."""

    frequencies: tuple[float, ...]
    name: str = "as recorded"

    def probabilities(self, batch: SequenceBatch) -> Tensor:
        """See `Policy`."""
        overall = torch.tensor(self.frequencies, device=batch.is_first.device).expand(*batch.is_first.shape, -1)
        if batch.action_mask is not None:
            left = overall * batch.action_mask
            total = left.sum(dim=-1, keepdim=True)
            overall = torch.where(total > 0, left / total.clamp(min=1e-9), _even(batch, len(self.frequencies)))
        taken = torch.nn.functional.one_hot(batch.action[..., 0], len(self.frequencies)).float()
        return torch.cat([torch.where(batch.valid[..., None], taken, overall[:, :-1]), overall[:, -1:]], dim=1)


def _even(batch: SequenceBatch, actions: int) -> Tensor:
    """Return (B, T+1, A): uniform over the allowed actions; in padding that allows none, over all."""
    if batch.action_mask is None:
        return torch.full((*batch.is_first.shape, actions), 1.0 / actions, device=batch.is_first.device)
    allowed = batch.action_mask | ~batch.action_mask.any(dim=-1, keepdim=True)
    return allowed.float() / allowed.sum(dim=-1, keepdim=True)
