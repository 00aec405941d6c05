"""The fits of an estimate on disk: each is saved when it is done, so that a stopped estimate can continue."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from seqel.errors import CheckpointError
from seqel.ope.fqe import StepEstimates
from seqel.ope.policies import AgentPolicy, Policy
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.stored_trees import load_tree, save_tree
from seqel.training.held_out import HeldOut

__all__ = ["SavedFits", "fingerprint"]


def fingerprint(policies: Sequence[Policy], recorded: EpisodeBuffer, settings: dict[str, Any]) -> str:
    """Return 16 digits that identify an estimate by its policies (agents by their weights and rules), data and settings."""
    found = sha256(repr(sorted(settings.items())).encode())
    for policy in policies:
        found.update(repr(policy.name).encode())
        if isinstance(policy, AgentPolicy):
            for name, value in policy.agent.network.state_dict().items():
                found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
            network, rules = policy.agent.network, policy.agent.info.get("shield", "")
            found.update(repr((policy.epsilon, network.config.value_weight, rules)).encode())
        else:  # the other policies are dataclasses with plain values
            found.update(repr(policy).encode())
    found.update(recorded.table.numbers.tobytes())
    for name, column in sorted(recorded.slots.columns.items()):
        found.update(f"{name} {zlib.crc32(np.ascontiguousarray(column).tobytes())}".encode())
    return found.hexdigest()[:16]


class SavedFits:
    """A folder with one checksummed tree per fit."""

    def __init__(self, directory: Path, key: str) -> None:
        self.directory, self.key = directory, key

    def _path(self, number: int) -> Path:
        return self.directory / f"fit-{number}"

    def load(self, number: int) -> tuple[StepEstimates, HeldOut | None] | None:
        """Load a fit. None if it is missing, belongs to another estimate, or is damaged: then it is fitted again."""
        if not self._path(number).is_dir():
            return None
        try:
            tree = load_tree(self._path(number))
            if tree["key"] != self.key:
                return None
            held_out = None if tree["held_out"] is None else HeldOut(**tree["held_out"])
            return StepEstimates(**tree["steps"]), held_out
        except (CheckpointError, KeyError, TypeError):
            return None

    def save(self, number: int, steps: StepEstimates, held_out: HeldOut | None) -> None:
        """Save a fit. Raises StorageError."""
        tree = {
            "key": self.key,
            "steps": {field.name: getattr(steps, field.name) for field in dataclasses.fields(StepEstimates)},
            "held_out": None if held_out is None else dataclasses.asdict(held_out),
        }
        save_tree(self._path(number), tree, replace=True)
