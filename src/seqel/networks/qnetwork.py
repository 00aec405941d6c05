"""The Q-network: tokens -> trunk -> heads, for a whole window (`forward`) or step by step (`step`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.action_scorer import ActionScorer
from seqel.networks.heads.base import Head
from seqel.networks.heads.cost import CostHead
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.heads.q import QHead
from seqel.networks.heads.registry import HEADS, make_heads
from seqel.networks.heads.scores import action_scores
from seqel.networks.items import ItemTable
from seqel.networks.tokens import TokenEncoder
from seqel.networks.trunks.base import State
from seqel.networks.trunks.registry import make_trunk, trunks_with
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import QOutput, SequenceBatch
from seqel.values.policy import log_policy

__all__ = ["QNetwork"]


class QNetwork(nn.Module):
    """Q-values of every action at every step of a history.

    policies: K, to learn the values of K given policies on one trunk (fitted Q evaluation); None: those of the best policy.

    Raises:
        ConfigError: `config.context` is still 0 (not chosen), or there are several action dimensions and the values are
            not linear in the head's outputs, so that the mean over dimensions is not a value.
    """

    available: Tensor | None

    def __init__(
        self, config: NetworkConfig, observation: ObservationSpec, action: ActionSpec, policies: int | None = None
    ) -> None:
        super().__init__()
        if config.context < 1:
            raise ConfigError("network.context: expected at least 1 step when the network is built, got 0")
        config.require_policy()
        self.config, self.observation_spec, self.action_spec = config, observation, action
        self.tokens = TokenEncoder(observation, action, config)
        self.trunk = make_trunk(config)
        self.head = QHead(action, config, policies)
        if action.dims > 1 and not self.head.values.linear:
            raise ConfigError(
                f"network.value = {config.value!r} needs one action dimension, got {action.dims}: the value of a joint "
                "action is a mean over dimensions; set network.value = 'scalar', or 'quantile' for distributions"
            )
        self._compiled: dict[int, Callable[..., QOutput]] = {}  # the step, by its number of rows
        self.other_heads: tuple[str, ...] = ()  # all but the Q head, in the order of the registry
        for name, head in make_heads(action, config).items():
            self.add_module(name, head)
            self.other_heads += (name,)
        for part in self.modules():
            if isinstance(part, ItemScorer):
                assert self.tokens.items is not None
                trains = config.value_gradient or part is not self.head.advantage
                part.bind(self.tokens.items, trains)
        uneven = len(set(action.sizes)) > 1
        self.register_buffer(
            "available", torch.from_numpy(action.available) if uneven else None, persistent=False
        )  # (M, A)

    def part(self, name: str) -> Head | None:
        """Return a head other than the Q head by its name in `heads/registry.py`; None if the network lacks it."""
        if name not in self.other_heads:
            return None
        found = getattr(self, name)
        assert isinstance(found, Head)
        return found

    def forward(self, batch: SequenceBatch, taken: bool = False) -> QOutput:
        """Compute all T+1 steps of B windows in one pass: q (B, T+1, M, A), or (B, T+1, M, C) for `batch.candidates`.

        With K policies q is (B, T+1, K, M, A). taken: q is (B, T+1, M, 1), of the action taken alone (at the last step, of
        action 0); the other heads still give numbers for every action.
        """
        h = self.trunk(self.embed(batch), batch.is_first, batch.start_step)
        return self.heads(h, batch.candidates, pad(batch.action, (0, 0, 0, 1)) if taken else None)

    def heads(self, h: Tensor, candidates: Tensor | None = None, taken: Tensor | None = None) -> QOutput:
        """Apply the heads to attended states (..., D), for all actions or only for candidates (..., C).

        taken: actions (..., M); the Q head gives their values alone.
        """
        read = h if self.config.value_gradient else h.detach()
        out: QOutput = self.head(read, candidates) if taken is None else self.head.of_taken(read, taken)
        more: dict[str, Any] = {
            HEADS[name].field: getattr(self, name)(
                read if HEADS[name].learns_values else h, self.head.scale, candidates
            )
            for name in self.other_heads
        }
        if self.available is not None:
            more["available"] = self.available
        if "cost" in more:
            costs = self.part("cost")
            assert isinstance(costs, CostHead)
            more["penalty"] = costs.penalty(more["cost"])
        return replace(out, **more) if more else out

    def scores(self, out: QOutput, mask: Tensor | None = None) -> Tensor:
        """Return scores whose argmax is the greedy action (see `heads/scores.py`).  -> (..., M, A)."""
        return action_scores(out, self.head.scale, self.config, mask)

    def preferred(self, out: QOutput) -> Tensor | None:
        """Return the scores that choose the next action in targets, without gradient (..., M, A); None: the values do, or the
        output has those of the actions taken alone.

        With a policy head that decides beside values, the best-valued action may be one that is never taken; a target that
        bootstraps from its value would stay too high, because nothing corrects it.
        """
        if out.taken or self.config.policy_head != "greedy" or not self.config.value_weight:
            return None
        return self.scores(out).detach()

    def decision_scores(self, h: Tensor) -> Tensor:
        """Return the `scores` after attended states h (..., D), with only the heads that decide.  -> (..., M, A)."""
        if self.config.policy_head != "greedy" or self.config.value_weight:
            return self.scores(self.heads(h))
        policy = self.part("policy")
        assert policy is not None
        return log_policy(policy(h, self.head.scale), self.available)

    @property
    def cost_multiplier(self) -> float | None:
        """The Lagrange multiplier, in reward per unit of cost; None: the network has no cost head."""
        part = self.part("cost")
        return None if part is None else float(part.multiplier)  # type: ignore[arg-type]

    def set_cost_multiplier(self, multiplier: float) -> None:
        """Set the Lagrange multiplier: how much reward a unit of cost is worth in greedy choices.

        Raises ConfigError: the network has no cost head, or the number is negative or not finite.
        """
        part = self.part("cost")
        if not isinstance(part, CostHead):
            raise ConfigError("a multiplier of costs needs network.cost = true: train with objective.cost_limit")
        if not 0.0 <= multiplier < math.inf:
            raise ConfigError(f"multiplier of costs: expected a finite number of at least 0, got {multiplier}")
        part.multiplier.fill_(multiplier)

    def rescale(self, scale: float) -> None:
        """Set the unit of value of every head. `scale` is in units of reward."""
        ratio = self.head.scale / scale
        for name in self.other_heads:
            getattr(self, name).rescale(ratio)
        self.head.rescale(scale)

    def describe_actions(self, features: Tensor) -> None:
        """Set the features of the actions, (A, F), in the heads that score an action by its features.

        Raises:
            ConfigError: their number does not match `network.action_features`, or `network.actions` is not 'embedded'.
        """
        expected = (self.action_spec.actions, self.config.action_features)
        if tuple(features.shape) != expected or self.config.actions not in ("embedded", "items"):
            raise ConfigError(
                f"action features: expected {list(expected)}, and network.actions = 'embedded' or 'items', got "
                f"{list(features.shape)} and {self.config.actions!r}"
            )
        for part in self.modules():
            if isinstance(part, ActionScorer | ItemTable):
                part.describe(features.to(part.features.device))

    def embed(self, batch: SequenceBatch) -> Tensor:
        """Return the tokens of a batch.  -> (B, T+1, D)."""
        action = torch.cat((batch.previous_action[:, None], batch.action), dim=1)  # (B, T+1, M)
        reward = torch.cat((batch.previous_reward[:, None], batch.reward), dim=1)  # (B, T+1)
        out: Tensor = self.tokens(batch.observation, action, reward, batch.is_first)
        return out

    def initial_state(self, batch: int) -> State:
        """Return the empty state of `batch` rows."""
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
        """Compute one step for R rows.  Leaves (R, *shape), previous_action (R, M), the rest (R,) -> q (R, M, A), state.

        With candidates (R, C), only these are scored: q (R, M, C).

        Rows where `first` is True must have been reset (`trunk.reset`). The state is written in place.
        """
        given = (observation, previous_action, previous_reward, first)
        compiled = self._compiled.get(len(first)) if rows is None and candidates is None else None
        if compiled is not None:
            return compiled(self, *given, state), state
        h, state = self.trunk.step(self.tokens(*given), state, rows)
        return self.heads(h, candidates), state

    def step_pure(
        self,
        observation: dict[str, Tensor],
        previous_action: Tensor,
        previous_reward: Tensor,
        first: Tensor,
        state: State,
    ) -> tuple[QOutput, State]:
        """Compute `step` as a function of its arguments and the weights alone, so that it can be compiled and exported.

        state: of an `exportable` trunk. -> the output, and what `trunk.remember` writes into the state.
        """
        h, new = self.trunk.step_pure(self.tokens(observation, previous_action, previous_reward, first), state)
        return self.heads(h), new

    def compile_step(self, rows: int) -> None:
        """Compile the step for exactly this number of rows, if the trunk can. Compilation happens at the next such step."""
        if self.trunk.exportable and self.trunk.compiles:
            self._compiled[rows] = torch.compile(_step_all, dynamic=False)

    @torch.no_grad()
    def prefill(self, batch: SequenceBatch, lengths: Tensor) -> State:
        """Return the state after the first `lengths` (B,) observations of each window, in one forward pass."""
        return self.trunk.prefill(self.embed(batch), batch.is_first, batch.start_step, lengths)

    @torch.no_grad()
    def attention(self, batch: SequenceBatch) -> Tensor:
        """Return the attention weights of every layer.  -> (B, layers, H, T+1, T+1).

        Raises:
            ConfigError: the trunk has no attention.
        """
        if not self.trunk.has_attention:
            raise ConfigError(
                f"attention weights need trunk = {trunks_with('has_attention')}, this network has {self.config.trunk!r}"
            )
        return self.trunk.weights(self.embed(batch), batch.is_first, batch.start_step)


def _step_all(
    network: QNetwork,
    observation: dict[str, Tensor],
    previous_action: Tensor,
    previous_reward: Tensor,
    first: Tensor,
    state: State,
) -> QOutput:
    """`step` of every row, to be compiled: one graph computes the output and writes the memory."""
    out, new = network.step_pure(observation, previous_action, previous_reward, first, state)
    network.trunk.remember(state, new)
    return out
