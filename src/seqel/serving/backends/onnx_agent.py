"""Decisions by an exported agent in onnxruntime, which takes a fraction of torch's time per step.

The ring of keys and values of every slot lies in two arrays here, as in `deployment/runtime.py`. Memory is rebuilt by an
`Agent` in one forward pass if there is one, and otherwise step by step, several sessions at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from seqel.agents.info import AgentInfo
from seqel.deployment.runtime import PREFIX, ExportedAgent
from seqel.serving.backends.base import History, Inputs
from seqel.spaces import FlatObservation

__all__ = ["OnnxBackend"]


class OnnxBackend:
    """A `Backend` that runs an ONNX file. Errors as for `ExportedAgent`.

    agent: the same agent in torch, an `Agent`, to rebuild memory in one forward pass; None: without torch.
    """

    name = "onnxruntime"

    def __init__(
        self, exported: ExportedAgent | Path, slots: int, agent: object | None = None, threads: int = 1
    ) -> None:
        if not isinstance(exported, ExportedAgent):
            exported = ExportedAgent(exported, threads)
        self.exported, self.agent, self.slots = exported, agent, slots
        self.observation_spec, self.action_spec = exported.observation_spec, exported.action_spec
        self.info = cast(AgentInfo, exported.info)
        layers, heads, dim = exported.ring
        self.keep = layers * (exported.context - 1) + 1
        shape = (layers, slots, heads, exported.context, dim)
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._position = np.zeros(slots, np.int64)

    @property
    def bytes_per_slot(self) -> int:
        return (self._keys.nbytes + self._values.nbytes) // self.slots

    def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
        begins = slots[inputs.first]
        if len(begins):  # unused places are masked by the position, but 0 * nan is nan
            self._keys[:, begins] = self._values[:, begins] = 0.0
            self._position[begins] = 0
        position = self._position[slots]
        mask = inputs.mask if self.action_spec.dims > 1 else inputs.mask[:, 0]
        given: dict[str, NDArray[Any]] = {
            "previous_action": inputs.previous_action,
            "previous_reward": inputs.previous_reward,
            "first": inputs.first,
            "keys": self._keys.take(slots, axis=1),
            "values": self._values.take(slots, axis=1),
            "position": position,
            "mask": mask,
        }
        given |= {PREFIX + path: leaf for path, leaf in inputs.observation.items()}
        scores, keys, values = self.exported.run(given)
        place = position % self.exported.context
        self._keys[:, slots, :, place] = keys
        self._values[:, slots, :, place] = values
        self._position[slots] = position + 1
        return scores

    def fill(self, slots: NDArray[np.int64], histories: Sequence[History]) -> None:
        if self.agent is not None:
            from seqel.agents.agent import Agent
            from seqel.serving.backends.torch_agent import prefill

            assert isinstance(self.agent, Agent)
            memory = prefill(self.agent, histories).memory
            self._keys[:, slots] = memory["keys"].cpu().numpy()
            self._values[:, slots] = memory["values"].cpu().numpy()
            self._position[slots] = memory["position"].cpu().numpy()
            return
        self._keys[:, slots] = self._values[:, slots] = 0.0
        self._position[slots] = [history.start for history in histories]
        every = np.repeat(self.action_spec.available[None], len(slots), axis=0)
        for step in range(max(map(len, histories))):
            rows = [row for row, history in enumerate(histories) if step < len(history)]
            some = [histories[row] for row in rows]
            observation = FlatObservation(
                (path, np.stack([one.observation[path][step] for one in some])) for path in some[0].observation
            )
            self.step(
                slots[rows],
                Inputs(
                    observation,
                    np.stack([one.previous_action[step] for one in some]),
                    np.array([one.previous_reward[step] for one in some], np.float32),
                    np.array([one.start + step == 0 for one in some]),
                    every[rows],
                ),
            )
