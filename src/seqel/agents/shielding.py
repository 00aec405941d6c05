"""The shield of an agent: its rules, which are part of its description, compiled for its spaces and its table's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.datasets.encoding import CATEGORIES, NUMBERS, Encoding
from seqel.errors import SpaceError
from seqel.safety.fields import Column, Fields
from seqel.safety.shield import Shield
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["compile_shield", "fields_of", "read_shield", "shield_in"]


def shield_in(info: Mapping[str, Any], observation: ObservationSpec, action: ActionSpec) -> Shield | None:
    """Return the shield that an agent's description holds; None if it has none. Raises ConfigError: see `Shield.compile`."""
    text = info.get("shield")
    return None if not text else compile_shield(text, observation, action, info)


def compile_shield(
    text: str, observation: ObservationSpec, action: ActionSpec, info: Mapping[str, Any] | None = None
) -> Shield:
    """Compile rules for an agent with these spaces. info: its description, for the names in its table if it has one."""
    return Shield.compile(text, fields_of(observation, action, info or {}))


def fields_of(observation: ObservationSpec, action: ActionSpec, info: Mapping[str, Any]) -> Fields:
    """Return what rules may name: the table's actions and columns; without a table, numbers and leaves."""
    plain = Fields.of_spaces(observation, action)
    stored = info.get("encoding")
    if not stored:
        return plain
    encoding = Encoding.from_json(stored)
    schema = encoding.schema
    columns: dict[str, Column] = {}
    numbers = schema.of_kind("number")
    marked = [name for name in numbers if name in encoding.missing]
    for place, name in enumerate(numbers):
        missing = len(numbers) + marked.index(name) if name in marked else None
        offset = np.array([encoding.offsets.get(name, 0.0)])
        columns[name] = Column(NUMBERS, np.array([place]), offset, "float32", missing)
    for place, name in enumerate(schema.of_kind("category")):
        columns[name] = Column(
            CATEGORIES, np.array([place]), np.zeros(1), "int64", names=tuple(map(str, encoding.vocabularies[name]))
        )
    for name in schema.of_kind("vector"):
        width = encoding.widths[name]
        columns[name] = Column(
            f"vector/{name}", np.arange(width), np.zeros(width), "float32", width if name in encoding.missing else None
        )
    return Fields(action, tuple(tuple(map(str, names)) for names in encoding.names), schema.action_columns, columns)


def read_shield(
    shield: Shield,
    state: NDArray[np.float64] | None,
    rows: Any,
    observation: Mapping[str, NDArray[Any]],
    *,
    previous_action: NDArray[np.int64],
    reward: NDArray[np.float32],
    first: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the shield's new state (R, K) for some rows of (N, K), and the actions that it allows, (R, M, A).

    Raises SpaceError if the state was made without this shield: what the rows did before is then not known.
    """
    if state is None or state.shape[1] != shield.width:
        raise SpaceError("state: expected one that this agent made with its shield: start with `initial_state(batch)`")
    return shield.read(state[rows], observation, previous_action=previous_action, reward=reward, first=first)
