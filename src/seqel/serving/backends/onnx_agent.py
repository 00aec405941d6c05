"""Decisions by an exported agent in onnxruntime, which takes a fraction of torch's time per step.

The memory of every slot lies in arrays here, laid out as in `deployment/layouts.py`. It is rebuilt by an `Agent` in one
forward pass if there is one, and otherwise step by step, several sessions at once.
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
        self.layout = exported.layout
        self.keep = self.layout.keep
        self._arrays = self.layout.empty(slots)
        self._position = np.zeros(slots, np.int64)
        self._used = np.zeros(slots, np.bool_)
        self._flat: dict[str, NDArray[np.float32]] = {}
        self._batch: dict[int, dict[str, NDArray[np.float32]]] = {}  # the memory of one batch, by its number of rows
        self._most = 0  # rows of the largest one

    @property
    def bytes_per_slot(self) -> int:
        return self.layout.bytes_per_row

    def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
        begins = slots[inputs.first]
        if len(begins):
            self._clear(begins)
            self._position[begins] = 0
        position = self._position[slots]
        mask = inputs.mask if self.action_spec.dims > 1 else inputs.mask[:, 0]
        given: dict[str, NDArray[Any]] = {
            "previous_action": inputs.previous_action,
            "previous_reward": inputs.previous_reward,
            "first": inputs.first,
            "position": position,
            "mask": mask,
        }
        given |= self.layout.select(self._arrays, slots, self._batch_of(len(slots)))
        given |= {PREFIX + path: leaf for path, leaf in inputs.observation.items()}
        scores, new = self.exported.run(given)
        self.layout.write(self._arrays, slots, position, new)
        self._position[slots] = position + 1
        return scores

    def _clear(self, slots: NDArray[np.int64]) -> None:
        """Forget what slots hold. Those that were never used have no memory of the system yet, and need none for that."""
        self.layout.clear(self._arrays, slots[self._used[slots]])
        self._used[slots] = True

    def _batch_of(self, rows: int) -> dict[str, NDArray[np.float32]]:
        """Return arrays for the memory of one batch, which the next one overwrites.

        New arrays of many megabytes would be mapped and cleared by the system for each batch, which took longer than the
        model. All sizes of batches share the same memory.
        """
        if rows > self._most:
            self._most, self._batch = 1 << (rows - 1).bit_length(), {}
            self._flat = {name: array.reshape(-1) for name, array in self.layout.empty(self._most).items()}
        found = self._batch.get(rows)
        if found is None:
            shape = list(self.layout.shape)
            shape.insert(self.layout.row_axis, rows)
            size = int(np.prod(shape))
            found = self._batch[rows] = {name: flat[:size].reshape(shape) for name, flat in self._flat.items()}
        return found

    def fill(self, slots: NDArray[np.int64], histories: Sequence[History]) -> None:
        if self.agent is not None:
            from seqel.agents.agent import Agent
            from seqel.serving.backends.torch_agent import prefill

            assert isinstance(self.agent, Agent)
            memory = prefill(self.agent, histories).memory
            self._used[slots] = True
            self.layout.replace(self._arrays, slots, {name: memory[name].cpu().numpy() for name in self._arrays})
            self._position[slots] = [history.start + len(history) for history in histories]
            return
        self._clear(slots)
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
