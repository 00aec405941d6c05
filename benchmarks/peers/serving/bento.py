"""The model behind BentoML: MODEL=MODEL.onnx bentoml serve bento:Agent --port PORT; MOST: rows per batch."""

from __future__ import annotations

import os

import bentoml
from model import Model

MOST = int(os.environ.get("MOST", "1"))


@bentoml.service(workers=1, traffic={"timeout": 30, "concurrency": 256})
class Agent:
    """Decides for an observation."""

    def __init__(self) -> None:
        self.model = Model(os.environ["MODEL"])

    if MOST > 1:

        @bentoml.api(route="/predict", batchable=True, max_batch_size=MOST, max_latency_ms=1000)
        def predict(self, observation: list[list[float]]) -> list[int]:
            return self.model.decide(observation)

    else:

        @bentoml.api(route="/predict")
        def predict(self, observation: list[float], reward: float = 0.0) -> int:
            return self.model.decide([observation])[0]
