"""What the peers serve: the exported acting step in a bare onnxruntime session, each request a first step without memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime

__all__ = ["Model"]


class Model:
    """One onnxruntime session with one thread."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        described = json.loads(self.session.get_modelmeta().custom_metadata_map["seqel"])
        ring, self.sizes = described["ring"], described["action"]["sizes"]
        self.shape = (ring["layers"], 1, ring["heads"], ring["context"], ring["dim"])
        self.names = [one.name for one in self.session.get_inputs()]
        self._given: dict[int, dict[str, Any]] = {}

    def inputs(self, rows: int) -> dict[str, Any]:
        """Return the inputs of `rows` rows without their observation."""
        if rows not in self._given:
            layers, _, *rest = self.shape
            self._given[rows] = {
                "previous_action": np.zeros((rows, len(self.sizes)), np.int64),
                "previous_reward": np.zeros(rows, np.float32), "first": np.ones(rows, bool),
                "keys": np.zeros((layers, rows, *rest), np.float32), "values": np.zeros((layers, rows, *rest), np.float32),
                "position": np.zeros(rows, np.int64), "mask": np.ones((rows, max(self.sizes)), bool),
            }  # fmt: skip
        return self._given[rows]

    def decide(self, observations: list[list[float]]) -> list[int]:
        """Return the action for each observation."""
        given = self.inputs(len(observations)) | {"observation.observation": np.array(observations, np.float32)}
        scores = self.session.run(["q"], {name: given[name] for name in self.names})[0]
        found: list[int] = scores[:, 0].argmax(axis=-1).tolist()
        return found
