"""Which agent acts in which environment: one in all of them, or the incumbent in most and a challenger in the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent, AgentState
from seqel.spaces import FlatObservation
from seqel.types import SequenceBatch

__all__ = ["Actors"]

CHALLENGER_EVERY = 4  # the challenger acts in every fourth environment


class Actors:
    """Agents with the same spaces; each acts in its own environments and keeps its memory of them."""

    def __init__(self, agent: Agent, count: int, challenger: Agent | None = None) -> None:
        """`challenger`: it acts in every fourth environment, and at least one (`count` must be two or more).

        The mistakes of a newer agent only appear in its own experience: an agent that is trained only on another agent's
        experience acts worse than that agent (Ostrovski et al. 2021, arXiv:2110.14020, tandem learning).
        """
        every = np.arange(count)
        self.agent = agent
        self.parts: list[tuple[Agent, slice | NDArray[np.int64]]] = [(agent, slice(None))]
        self.challenger_rows: NDArray[np.bool_] | None = None  # (E,); None: there is no challenger
        if challenger is not None:
            self.challenger_rows = (
                every % CHALLENGER_EVERY == CHALLENGER_EVERY - 1 if count >= CHALLENGER_EVERY else every == count - 1
            )
            self.parts = [(agent, every[~self.challenger_rows]), (challenger, every[self.challenger_rows])]
        self.sizes = [len(every[rows]) for _, rows in self.parts]
        self.states = [one.initial_state(size) for (one, _), size in zip(self.parts, self.sizes, strict=True)]

    def compile(self) -> None:
        """Compile the acting step of each agent."""
        for (agent, _), size in zip(self.parts, self.sizes, strict=True):
            agent.network.compile_step(size)

    def act(
        self,
        observation: FlatObservation,
        *,
        reward: NDArray[np.float32],
        first: NDArray[np.bool_],
        previous_action: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return Q-values in units of reward, in each row from the agent that acts there: (E, A), or (E, M, A) if M > 1.

        Also the values of novelty, in the same shape; None if the agents have no head for them. Args: as for
        `Agent.outputs`; the mask is (E, A), or (E, M, A).
        """
        shape = self.agent.action_spec.unmasked.shape
        mask = None if mask is None else mask.reshape(len(mask), -1, shape[-1])
        q = np.empty((len(reward), self.agent.action_spec.dims, shape[-1]), np.float32)
        novelty = None if self.agent.network.part("novelty") is None else np.zeros_like(q)
        for (agent, rows), state in zip(self.parts, self.states, strict=True):
            out = agent.outputs(
                FlatObservation({path: leaf[rows] for path, leaf in observation.items()}),
                state,
                reward=reward[rows],
                first=first[rows],
                previous_action=previous_action[rows],
            )
            q[rows] = agent.scores(out, None if mask is None else mask[rows])
            if novelty is not None and out.novelty is not None:
                novelty[rows] = out.novelty.cpu().numpy()
        return q.reshape(-1, *shape), None if novelty is None else novelty.reshape(-1, *shape)

    def refresh(self, batch: SequenceBatch, lengths: Tensor) -> None:
        """Recompute every memory with the current weights. `batch`: one row per environment; `lengths` (E,): its steps."""
        for (agent, rows), state in zip(self.parts, self.states, strict=True):
            state.memory = agent.network.prefill(batch.rows(rows), lengths[rows])

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the memory of each agent."""
        return [
            {"memory": dict(state.memory), "last_action": state.last_action, "fresh": state.fresh}
            for state in self.states
        ]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        device = self.agent.device
        self.states = [
            AgentState(
                {name: tensor.to(device) for name, tensor in state["memory"].items()},
                # copies, because the state may refer to live arrays; tensors were saved until 2026-11-28
                torch.as_tensor(state["last_action"]).numpy().copy(),
                torch.as_tensor(state["fresh"]).numpy().copy(),
            )
            for state in states
        ]
