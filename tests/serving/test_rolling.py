"""An agent is replaced replica by replica: what docs/deploy.md says about the sessions that meet both."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import orjson
import torch

from seqel.agents.agent import Agent
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.sessions.memory import MemoryStore
from support import network
from support_serving import histories, make_service


def test_a_session_moves_with_its_history_and_back() -> None:
    seen, rewards = histories(1, 6)
    old, changed = Agent(network(), {"env": "Old-v0"}), network()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(-0.7)
    agents = {"a": old, "b": Agent(changed, {"env": "New-v0"})}
    taken: list[int] = []

    async def body() -> None:
        store = MemoryStore(10, 3_600.0)  # shared, as Redis is
        replicas = {
            name: make_service(TorchBackend(agent, 4), store=store, version=name) for name, agent in agents.items()
        }
        await replicas["a"].create("one")
        for step, replica in enumerate("aabbab"):
            request = {"observation": seen[0, step].tolist(), "reward": float(rewards[0, step]), "step": step}
            answer = orjson.loads(await replicas[replica].act("one", request))
            assert answer["agent"] == replica
            scores = of(agents[replica], step)
            np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)
            taken.append(answer["action"])
        for one in replicas.values():
            await one.stop()

    def of(agent: Agent, last: int) -> Any:
        """Return the scores of an agent that has read every step so far, with the actions that were taken."""
        state, decision = None, None
        for step in range(last + 1):
            previous = np.array([taken[step - 1]]) if step else None
            decision, state = agent.act(seen[:, step], state, reward=rewards[:, step], previous_action=previous)
        assert decision is not None
        return decision.q[0]

    asyncio.run(body())
