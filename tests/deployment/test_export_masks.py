"""An exported agent with action masks, and after rewards that are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.errors import SpaceError
from support import network


@pytest.mark.parametrize("policy", ["none", "constraint", "greedy"])
def test_the_exported_agent_decides_like_the_agent_under_masks(policy: Any, pair: Any, tmp_path: Path) -> None:
    agent, exported = pair.agent, pair.exported
    if policy != "none":
        agent = Agent(network(policy_head=policy))
        exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    rng = np.random.default_rng(0)
    one = other = None
    for _ in range(40):
        seen, mask = rng.standard_normal((20, 3)).astype(np.float32), rng.random((20, 3)) < 0.5
        mask[~mask.any(axis=1)] = True
        decided, one = agent.act(seen, one, mask=mask)
        again, other = exported.act(seen, other, mask=mask.astype(np.int8))
        assert (again.action == decided.action).all()
        np.testing.assert_allclose(again.q, decided.q, rtol=1e-4, atol=1e-4)


def test_errors_warnings_and_resets_are_those_of_the_agent(pair: Any) -> None:
    exported = pair.exported
    seen = np.ones((2, 3), np.float32)
    with pytest.warns(UserWarning, match="trained with action masks"):
        _, state = exported.act(seen)
    only = np.array([[0, 0, 1], [1, 0, 0]])
    assert exported.act(seen, mask=only)[0].action.tolist() == [2, 0]
    for mask in ([[0, 2]] * 2, np.full((2, 3), np.nan), np.ones((2, 2), bool)):
        with pytest.raises(SpaceError, match="mask"):
            exported.act(seen, state, mask=mask)
    with pytest.raises(SpaceError, match="reward: expected finite numbers"):
        exported.act(seen, state, reward=[0.0, np.nan])
    with pytest.raises(SpaceError, match="single observation"):
        exported.act(seen[0])
    with pytest.raises(SpaceError, match="reward"):
        exported.act(seen, state, reward=np.zeros((2, 1)))
    for array in state.arrays.values():
        array[:] = np.nan  # like a damaged memory, or one from before rewards were checked
    fresh = exported.act(seen, mask=np.ones((2, 3), bool))[0].q
    again, _ = exported.act(seen, state, first=[True, True], reward=[np.nan, np.nan], mask=np.ones((2, 3), bool))
    np.testing.assert_array_equal(again.q, fresh)
