"""Decisions by an `Agent` in torch: any agent, on any device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.agent import Agent, AgentState
from seqel.serving.backends.base import History, Inputs

__all__ = ["TorchBackend", "prefill"]

STEPS = 16_384  # of histories that are read at once


class TorchBackend:
    """A `Backend` that runs an agent's network; `slots` sessions are held in its memory."""

    name = "torch"

    def __init__(self, agent: Agent, slots: int) -> None:
        self.agent, self.slots = agent, slots
        self.observation_spec, self.action_spec, self.info = agent.observation_spec, agent.action_spec, agent.info
        self.keep = agent.network.trunk.receptive_field
        self._state = agent.initial_state(slots)

    @property
    def bytes_per_slot(self) -> int:
        return sum(tensor.nbytes for tensor in self._state.memory.values()) // self.slots

    def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
        out = self.agent.outputs(
            inputs.observation, self._state, reward=inputs.previous_reward, first=inputs.first,
            previous_action=inputs.previous_action, rows=slots,
        )  # fmt: skip
        return self.agent.scores(out, inputs.mask)

    @torch.inference_mode()
    def fill(self, slots: NDArray[np.int64], histories: Sequence[History]) -> None:
        order = sorted(range(len(histories)), key=lambda row: len(histories[row]))  # of about one length together
        at = 0
        while at < len(order):
            most = at + 1
            while most < len(order) and (most + 1 - at) * len(histories[order[most]]) <= STEPS:
                most += 1
            rows = order[at:most]
            state = prefill(self.agent, [histories[row] for row in rows])
            where = torch.from_numpy(slots[rows]).to(self.agent.device)
            self.agent.network.trunk.replace_rows(self._state.memory, where, state.memory)
            self._state.fresh[slots[rows]] = False
            at = most


@torch.inference_mode()
def prefill(agent: Agent, histories: Sequence[History]) -> AgentState:
    """Return the state after R histories, in one forward pass. A history that starts at step 0 begins an episode."""
    network, device = agent.network, agent.device
    lengths = np.array([len(history) for history in histories])
    shape = (len(histories), int(lengths.max()))
    there = np.arange(shape[1]) < lengths[:, None]
    columns = {path: [history.observation[path] for history in histories] for path in histories[0].observation} | {
        name: [getattr(history, name) for history in histories]
        for name in (one.name for one in dataclasses.fields(History) if one.name.startswith("previous"))
    }
    padded = {}
    for name, parts in columns.items():
        whole = np.zeros((*shape, *parts[0].shape[1:]), parts[0].dtype)
        whole[there] = np.concatenate(parts)
        padded[name] = torch.from_numpy(whole).to(device)
    start = torch.tensor([history.start for history in histories], dtype=torch.int64, device=device)
    first = torch.zeros(shape, dtype=torch.bool, device=device)
    first[:, 0] = start == 0
    action, reward = padded.pop("previous_action"), padded.pop("previous_reward")
    token = network.tokens(padded, action, reward, first)
    state = agent.initial_state(0)
    state.memory = network.trunk.prefill(token, first, start, torch.from_numpy(lengths).to(device))
    state.fresh = np.zeros(len(histories), bool)
    return state
