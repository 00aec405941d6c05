"""The Q-network: tokens -> trunk -> head, over a window at once (`forward`) or step by step (`step`)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.action_scorer import ActionScorer
from seqel.networks.heads.heads import PolicyHead, QHead, StateValueHead, action_scores
from seqel.networks.tokens import TokenEncoder
from seqel.networks.trunks.base import State, make_trunk
from seqel.networks.trunks.transformer import Transformer
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import QOutput, SequenceBatch

__all__ = ["QNetwork"]


class QNetwork(nn.Module):
    """Q-values of every action at every step of a history.

    Raises:
        ConfigError: `config.context` is still 0 (unchosen).
    """

    def __init__(self, config: NetworkConfig, observation: ObservationSpec, action: ActionSpec) -> None:
        super().__init__()
        if config.context < 1:
            raise ConfigError("network.context: expected at least 1 step by the time the network is built, got 0")
        self.config, self.observation_spec, self.action_spec = config, observation, action
        self.tokens = TokenEncoder(observation, action, config)
        self.trunk = make_trunk(config)
        self.head = QHead(action, config)
        self.policy = PolicyHead(action, config) if config.policy_head != "none" else None
        self.state_value = StateValueHead(action, config) if config.state_value else None

    def forward(self, batch: SequenceBatch) -> QOutput:
        """All T+1 steps of B windows in one pass: q (B, T+1, M, A), or of `batch.candidates` alone (B, T+1, M, C)."""
        return self.heads(self.trunk(self.embed(batch), batch.is_first, batch.start_step), batch.candidates)

    def heads(self, h: Tensor, candidates: Tensor | None = None) -> QOutput:
        """What the heads make of attended states (..., D), about all actions or about candidates (..., C)."""
        out: QOutput = self.head(h, candidates)
        if self.policy is not None:
            out = replace(out, policy_logits=self.policy(h, candidates))
        if self.state_value is not None:
            out = replace(out, value=self.state_value(h, self.head.scale))
        return out

    def scores(self, out: QOutput, mask: Tensor | None = None) -> Tensor:
        """What the greedy action is the largest of among the allowed ones (see `heads.decide`).  -> (..., M, A)."""
        return action_scores(out, self.head.scale, self.config, mask)

    def rescale(self, scale: float) -> None:
        """Move every head to another unit of value."""
        if self.state_value is not None:
            self.state_value.rescale(self.head.scale / scale)
        self.head.rescale(scale)

    def describe_actions(self, features: Tensor) -> None:
        """What is known of the actions, (A, F), for the heads that score an action by what it is.

        Raises:
            ConfigError: it is not what `network.action_features` says.
        """
        expected = (self.action_spec.actions, self.config.action_features)
        if tuple(features.shape) != expected or self.config.actions != "embedded":
            raise ConfigError(
                f"action features: expected {list(expected)}, and network.actions = 'embedded', got "
                f"{list(features.shape)} and {self.config.actions!r}"
            )
        for part in self.modules():
            if isinstance(part, ActionScorer):
                part.describe(features.to(part.features.device))

    def embed(self, batch: SequenceBatch) -> Tensor:
        """The tokens of a batch.  -> (B, T+1, D)."""
        action = torch.cat((batch.previous_action[:, None], batch.action), dim=1)  # (B, T+1, M)
        reward = torch.cat((batch.previous_reward[:, None], batch.reward), dim=1)  # (B, T+1)
        out: Tensor = self.tokens(batch.observation, action, reward, batch.is_first)
        return out

    def initial_state(self, batch: int) -> State:
        """The memory of `batch` rows that have seen nothing."""
        return self.trunk.initial_state(batch)

    def step(
        self,
        observation: dict[str, Tensor],
        previous_action: Tensor,
        previous_reward: Tensor,
        first: Tensor,
        state: State,
        rows: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> tuple[QOutput, State]:
        """One step for R rows.  Leaves (R, *shape), previous_action (R, M), the rest (R,) -> q (R, M, A), state.

        With candidates (R, C), these alone are scored: q (R, M, C).

        Rows must have been reset where `first` is True (`trunk.reset`). The state is written in place.
        """
        token = self.tokens(observation, previous_action, previous_reward, first)
        h, state = self.trunk.step(token, state, rows)
        return self.heads(h, candidates), state

    @torch.no_grad()
    def prefill(self, batch: SequenceBatch, lengths: Tensor) -> State:
        """The state after the first `lengths` (B,) observations of each window, in one forward pass."""
        return self.trunk.prefill(self.embed(batch), batch.is_first, batch.start_step, lengths)

    @torch.no_grad()
    def attention(self, batch: SequenceBatch) -> Tensor:
        """Attention weights of every layer.  -> (B, layers, H, T+1, T+1).

        Raises:
            ConfigError: the trunk has no attention.
        """
        if not isinstance(self.trunk, Transformer):
            raise ConfigError(f"attention weights need trunk = 'transformer', this network has {self.config.trunk!r}")
        return self.trunk.weights(self.embed(batch), batch.is_first, batch.start_step)
