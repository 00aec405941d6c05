"""A service compares what it reads with the run's reference, and reports drift in its metrics."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np

from seqel.monitoring.features import FeatureMap
from seqel.monitoring.metrics import ServiceMetrics
from seqel.monitoring.reference import Reference
from seqel.serving.config import ServiceConfig
from seqel.serving.loading import load_served
from seqel.serving.observing import DecisionLog
from seqel.serving.service import Service
from seqel.serving.sessions.memory import MemoryStore

SESSIONS, STEPS = 16, (5, 35)


async def play(service: Service, seed: int, shift: float, rounds: int) -> None:
    """Play rounds of episodes in all sessions."""
    rng = np.random.default_rng(seed)

    taken = 0

    async def one(session: int) -> None:
        nonlocal taken
        while taken < 20 * session:  # sessions that all begin at once would look like drift
            await asyncio.sleep(0)
        for number in range(rounds):
            name = f"{seed}-{number}-{session}"
            await service.create(name)
            for _ in range(rng.integers(*STEPS)):
                seen = rng.standard_normal(3)
                seen[0] += shift
                await service.act(name, {"observation": seen.tolist(), "reward": 0.0})
                taken += 1
            await service.close(name)

    await asyncio.gather(*map(one, range(SESSIONS)))


def reference_of(lines: list[dict[str, Any]], agent: Any) -> Reference:
    """Return the reference of logged decisions."""
    by_session: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_session.setdefault(line["session"], []).append(line)
    rows = [line for some in by_session.values() for line in some]
    features = FeatureMap(agent.observation_spec, agent.action_spec)
    seen = {"observation": np.array([line["observation"] for line in rows], np.float32)}
    action, q_max = np.array([line["action"] for line in rows]), np.array([line["q_max"] for line in rows])
    lengths = np.array([len(some) for some in by_session.values()])
    return Reference.from_rows(features, features.rows(seen, action, q_max), lengths)


def test_drift_is_reported_and_calm_input_is_not(pair: Any, tmp_path: Path) -> None:
    folder = tmp_path / "maze"
    pair.agent.save(folder)
    log = DecisionLog(tmp_path / "decisions.jsonl")

    def served() -> Service:
        service = Service(MemoryStore(1_000, 3_600.0), ServiceMetrics(), ServiceConfig(sessions=64))
        service.add(load_served(folder, service, backend="torch", log=log))
        return service

    async def collect() -> None:
        service = served()
        await play(service, 0, 0.0, 20)
        await service.stop()

    asyncio.run(collect())
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert len({line["session"] for line in lines}) == 20 * SESSIONS
    reference_of(lines, pair.agent).save(folder / "reference.json")
    log = DecisionLog(tmp_path / "more.jsonl")

    async def watch() -> tuple[str, str]:
        service = served()
        await play(service, 1, 0.0, 8)
        calm = service.metrics.render().decode()
        await play(service, 2, 1.5, 8)
        drifted = service.metrics.render().decode()
        await service.stop()
        return calm, drifted

    calm, drifted = asyncio.run(watch())

    def detected(text: str) -> list[str]:
        return [
            line
            for line in text.splitlines()
            if line.startswith("seqel_drift_detections_total{") and not line.endswith(" 0.0")
        ]

    assert detected(calm) == []
    assert any("observation" in line for line in detected(drifted)), "no drift of the shifted number"
    assert "seqel_drift_psi{feature=" in drifted
