"""The model behind a plain Ray Serve deployment: python ray_app.py MODEL.onnx PORT [most rows per batch].

Ray listens on all addresses: run it in a network namespace of its own (see the README beside this folder).
"""

from __future__ import annotations

import asyncio
import sys

import ray
from model import Model
from ray import serve
from starlette.requests import Request

MOST = int(sys.argv[3]) if len(sys.argv) > 3 else 1


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Agent:
    """Decides for an observation."""

    def __init__(self, path: str) -> None:
        self.model = Model(path)

    @serve.batch(max_batch_size=max(MOST, 1), batch_wait_timeout_s=0.001)
    async def many(self, observations: list[list[float]]) -> list[int]:
        return self.model.decide(observations)

    async def __call__(self, request: Request) -> dict:
        observation = (await request.json())["observation"]
        action = await self.many(observation) if MOST > 1 else self.model.decide([observation])[0]
        return {"action": action}


async def wait() -> None:
    while True:
        await asyncio.sleep(1)


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2, _node_ip_address="127.0.0.1", logging_level="ERROR")
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[2])}, logging_config={"enable_access_log": False}
    )
    serve.run(Agent.bind(sys.argv[1]), route_prefix="/predict")
    print("ready", flush=True)
    asyncio.run(wait())
