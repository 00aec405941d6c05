"""Sessions whose decisions are held, so that they can be compared with those of an agent that was never interrupted."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZE, MOST_STEPS = 4, 4_096  # numbers of an observation; steps of a session at most


class Sessions:
    """Sends steps of sessions, each until it is answered, and holds what was answered."""

    def __init__(self, count: int, port: int) -> None:
        self.port = port
        rng = np.random.default_rng(0)
        self.seen = rng.standard_normal((count, MOST_STEPS, SIZE)).astype(np.float32)
        self.rewards = rng.standard_normal((count, MOST_STEPS)).astype(np.float32)
        self.actions = np.full((count, MOST_STEPS), -1)
        self.scores = np.zeros((count, MOST_STEPS, 2), np.float32)
        self.steps = np.zeros(count, int)
        self.statuses: Counter[str] = Counter()
        self.times: list[tuple[float, float]] = []  # when a step was answered, and after how many seconds

    async def play(self, session: int, going: Callable[[], bool]) -> None:
        """Take steps of a session, one after another, while `going`."""
        from serving_load import Connection

        connection = Connection("127.0.0.1", self.port)
        if not self.steps[session]:
            await self._send(connection, "/v1/sessions", session, {"session": f"s{session}"})
        while going() and self.steps[session] < MOST_STEPS:
            step = int(self.steps[session])
            given = {
                "observation": self.seen[session, step].tolist(), "reward": float(self.rewards[session, step]), "step": step
            }  # fmt: skip
            began = time.time()
            answer = await self._send(connection, f"/v1/sessions/s{session}/act", session, given)
            self.times.append((time.time(), time.time() - began))
            assert answer["step"] == step
            self.actions[session, step], self.scores[session, step] = answer["action"], answer["scores"]
            self.steps[session] = step + 1
        connection.close()

    async def idle(self, count: int, method: str) -> None:
        """Open or close sessions that take no step."""
        await asyncio.to_thread(self._idle, count, method)

    def _idle(self, count: int, method: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for one in range(count):
            path, body = (
                ("/v1/sessions", json.dumps({"session": f"idle{one}"}))
                if method == "POST"
                else (f"/v1/sessions/idle{one}", None)
            )
            connection.request(method, path, body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status < 300, answer.status
        connection.close()

    async def _send(self, connection: Any, path: str, session: int, given: dict[str, Any]) -> dict[str, Any]:
        body, until = json.dumps(given).encode(), time.time() + 60
        while time.time() < until:
            try:
                status, answer = await connection.post(path, body, f"x-session-id: s{session}")
            except (OSError, asyncio.IncompleteReadError) as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[str(status)] += 1
            if status < 500:
                assert status < 300, answer
                return dict(json.loads(answer))
            await asyncio.sleep(0.05)
        raise TimeoutError(path)

    def compare(self, model: Path) -> dict[str, Any]:
        """Decide all steps again with one agent that is not interrupted, and return how many decisions differ.

        So that agreement means something: the share of action 1, and how many decisions differ from those without history.
        """
        from seqel.deployment.runtime import ExportedAgent

        agent, state = ExportedAgent(model), None
        differ, forgetful, gap = 0, 0, 0.0
        for step in range(int(self.steps.max())):
            decision, state = agent.act(self.seen[:, step], state, reward=self.rewards[:, step])
            alone, _ = agent.act(self.seen[:, step], reward=self.rewards[:, step])
            rows = np.flatnonzero(self.steps > step)
            differ += int((decision.action[rows] != self.actions[rows, step]).sum())
            forgetful += int((alone.action[rows] != self.actions[rows, step]).sum())
            gap = max(gap, float(np.abs(decision.q[rows] - self.scores[rows, step]).max()))
        decisions = int(self.steps.sum())
        return {
            "decisions": decisions, "differ": differ, "largest_gap_of_scores": gap,
            "share_of_action_1": round(float((self.actions == 1).sum()) / decisions, 3), "differ_without_history": forgetful,
        }  # fmt: skip

    def speed(self, begin: float, end: float) -> dict[str, Any]:
        """Return the rate and latencies of steps that were answered between two times."""
        taken = [1e3 * seconds for when, seconds in self.times if begin <= when < end]
        cuts = np.percentile(taken, [50, 99, 100]).round(1).tolist() if taken else []
        found: dict[str, Any] = {"per_second": round(len(taken) / max(1e-9, end - begin), 1), "steps": len(taken)}
        return found | {"ms": dict(zip(("p50", "p99", "most"), cuts, strict=False))}
