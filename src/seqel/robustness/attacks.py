"""Attacks: observations moved within a small distance so that the agent does not take the action that it would take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent, AgentState
from seqel.errors import ConfigError
from seqel.robustness.gradient import ascend
from seqel.robustness.leaves import NUMERIC, leaf_scales
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from seqel.types import Decision

__all__ = ["AttackedAgent"]


class AttackedAgent:
    """An agent whose numbers and pictures are attacked at each step before it sees them.

    The attack maximises the cross-entropy of the greedy action under a softmax of the scores (Huang et al. 2017,
    arXiv:1702.02284), at the current step: past observations stay as the agent saw them, attacked at their own steps. One
    step of the gradient's sign is FGSM (Goodfellow et al. 2015), more are PGD (Madry et al. 2018) with a random start.

    Args:
        epsilon: the largest change of a number, in units of the network's scale; of a pixel, as a share of full brightness.
        steps: of gradient ascent.
        seed: of the random starts.

    Raises ConfigError: epsilon < 0, steps < 1, or the observation has neither numbers nor pictures.
    """

    def __init__(self, agent: Agent, epsilon: float, steps: int = 1, seed: int = 0) -> None:
        if not epsilon >= 0.0 or steps < 1:
            raise ConfigError(f"an attack: expected epsilon >= 0 and steps >= 1, got {epsilon} and {steps}")
        self.agent, self.epsilon, self.steps = agent, epsilon, steps
        self._rng = torch.Generator().manual_seed(seed)
        scales = {path: one for path, one in leaf_scales(agent.network).items() if one.leaf.kind in NUMERIC}
        if not scales:
            kinds = sorted({leaf.kind for leaf in agent.observation_spec.leaves})
            raise ConfigError(f"an attack changes numbers and pictures, and the observation has {kinds}")
        self._radius = {path: self._tensor(epsilon * one.unit, one.leaf.shape) for path, one in scales.items()}
        self._bounds = {}
        for path, one in scales.items():
            offset = np.array(one.leaf.offset or 0.0)
            low, high = (array.reshape(one.leaf.shape) - offset for array in (one.low, one.high))
            self._bounds[path] = (self._tensor(low, one.leaf.shape), self._tensor(high, one.leaf.shape))

    def _tensor(self, array: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
        return torch.tensor(array.reshape(shape), dtype=torch.float32, device=self.agent.device)

    @property
    def observation_spec(self) -> ObservationSpec:
        """The leaves of the observation."""
        return self.agent.observation_spec

    @property
    def action_spec(self) -> ActionSpec:
        """The action space."""
        return self.agent.action_spec

    def act(
        self,
        observation: Any,
        state: AgentState | None = None,
        *,
        reward: Any = None,
        first: Any = None,
        mask: Any = None,
    ) -> tuple[Decision, AgentState]:
        """Attack a batch of observations and let the agent act on the result; see `Agent.act`."""
        spec = self.observation_spec
        rows = spec.rows(observation) if state is None else len(state)
        if not isinstance(observation, FlatObservation):
            observation = spec.flatten(observation, rows)
        if state is None:
            state = self.agent.initial_state(rows)
        attacked = self.attack(observation, state, reward=reward, first=first, mask=mask)
        return self.agent.act(attacked, state, reward=reward, first=first, mask=mask)

    def attack(
        self,
        observation: FlatObservation,
        state: AgentState,
        *,
        reward: Any = None,
        first: Any = None,
        mask: Any = None,
    ) -> FlatObservation:
        """Return the attacked observations (R, ...); the state does not change."""
        agent, rows = self.agent, len(state)
        device, network = agent.device, agent.network
        begins = state.fresh | (np.zeros(rows, bool) if first is None else np.asarray(first, bool))
        earned = np.broadcast_to(np.asarray(0.0 if reward is None else reward, np.float32), (rows,)).copy()
        first_tensor = torch.from_numpy(begins.copy()).to(device)
        before = torch.from_numpy(state.last_action.copy()).to(device), torch.from_numpy(earned).to(device)
        allowed = None
        if mask is not None:
            allowed = torch.from_numpy(np.asarray(mask, bool).reshape(rows, agent.action_spec.dims, -1).copy()).to(
                device
            )
        memory = {name: tensor.clone() for name, tensor in state.memory.items()}
        network.trunk.reset(memory, first_tensor)
        fixed = {path: torch.from_numpy(np.ascontiguousarray(leaf)).to(device) for path, leaf in observation.items()}
        inputs = {path: fixed[path].float() for path in self._radius}

        def scores(leaves: Mapping[str, Tensor]) -> Tensor:
            given = ({**fixed, **leaves}, *before, first_tensor)
            if network.trunk.exportable:  # its `step` writes into its memory in place, which has no gradient
                out, _ = network.step_pure(*given, memory)
            else:
                out, _ = network.step(*given, {name: tensor.clone() for name, tensor in memory.items()})
            found = network.scores(out, allowed)
            return found if network.config.policy_head == "greedy" else found / network.head.scale

        with torch.no_grad():
            greedy = scores({}).argmax(dim=-1)  # (R, M)

        def loss(leaves: dict[str, Tensor]) -> Tensor:
            return -scores(leaves).log_softmax(dim=-1).gather(-1, greedy[..., None]).sum()

        start = None
        if self.steps > 1:
            start = {path: self._random_start(path, x) for path, x in inputs.items()}
        moved = ascend(loss, inputs, self._radius, self.steps, self._bounds, start)
        found = FlatObservation(observation)
        for path, x in moved.items():
            leaf = observation[path]
            array = x.cpu().numpy()
            found[path] = (array if np.issubdtype(leaf.dtype, np.floating) else np.rint(array)).astype(leaf.dtype)
        return found

    def _random_start(self, path: str, x: Tensor) -> Tensor:
        chance = 2.0 * torch.rand(x.shape, generator=self._rng).to(x.device) - 1.0
        low, high = self._bounds[path]
        return torch.clamp(x + self._radius[path] * chance, torch.minimum(low, x), torch.maximum(high, x))
