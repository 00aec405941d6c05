"""Checks that an agent, an environment and recorded data have the same spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqel.errors import SpaceError
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["Spaces", "require_equal_names", "require_equal_spaces"]

Spaces = tuple[ObservationSpec, ActionSpec]


def require_equal_spaces(what: str, got: Spaces, wanted: str, expected: Spaces) -> None:
    """Raise SpaceError, naming the difference, unless `what` has the spaces that the text `wanted` describes."""
    if got[0] != expected[0]:
        observed = [[str(leaf) for leaf in spec.leaves] for spec in (expected[0], got[0])]
        raise SpaceError(f"{what}: expected {wanted}, which observe {observed[0]}, got {observed[1]}")
    if got[1] != expected[1]:
        raise SpaceError(f"{what}: expected {wanted}, which have the actions {expected[1]}, got {got[1]}")


def require_equal_names(metadata: Mapping[str, Any], agent: Any) -> None:
    """Raise SpaceError if an environment names its actions and an agent of a table has other names, or in another order.

    metadata: the environment's; `metadata["seqel"]["actions"]` has the names. agent: its `info["encoding"]` has them.
    """
    named: Sequence[str] | None = dict(metadata.get("seqel", {})).get("actions")
    encoding = getattr(agent, "info", {}).get("encoding")
    if named is not None and encoding is not None and list(encoding["actions"]) != list(named):
        raise SpaceError(
            f"the environment: expected the agent's actions, {list(encoding['actions'])}, got {list(named)}"
        )
