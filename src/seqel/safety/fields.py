"""The names that rules may use: actions, and numbers or categories in an observation.

An environment's actions are numbers, and its values are the leaves of the observation. An agent that was trained on a table
has names for its actions and columns; `agents/shielding.py` makes a `Fields` of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["Column", "Fields", "Part", "unknown"]

READABLE = ("vector", "categories", "grid", "image")  # kinds of leaves whose elements are numbers
SHOWN = 20  # known names in a message


@dataclass(frozen=True, slots=True)
class Part:
    """One action of one action dimension, both counted from 0."""

    dimension: int
    code: int


@dataclass(frozen=True, slots=True)
class Column:
    """Where a value is found in a flat observation, and what it means."""

    path: str  # of the leaf
    elements: NDArray[np.int64]  # flat indices that a condition may name by their place, (n,)
    offset: NDArray[np.float64]  # what was subtracted from each before it was stored, (n,)
    dtype: str = "float32"  # as stored
    missing: int | None = None  # flat index of the mark that is 1 where the value is missing
    names: tuple[str, ...] | None = None  # of categories, by code - 1; code 0 is unknown. None: numbers


@dataclass(frozen=True)
class Fields:
    """What rules may name. actions: code -> name for each dimension. dimensions: their names."""

    action: ActionSpec
    actions: tuple[tuple[str, ...], ...] | None  # None: by number, as the environment counts
    dimensions: tuple[str, ...]
    columns: dict[str, Column] = field(default_factory=dict)

    @classmethod
    def of_spaces(cls, observation: ObservationSpec, action: ActionSpec) -> Fields:
        """Return the fields of an environment: leaves by their paths, actions and dimensions by their numbers."""
        columns = {}
        for leaf in observation.leaves:
            if leaf.kind in READABLE:
                size = int(np.prod(leaf.shape, dtype=np.int64))
                offset = np.broadcast_to(np.asarray(leaf.offset or (0.0,), np.float64), (size,)).copy()
                columns[leaf.path] = Column(leaf.path, np.arange(size), offset, leaf.dtype)
        return cls(action, None, tuple(map(str, range(action.dims))), columns)

    def parts(self, given: Any, where: str) -> tuple[Part, ...]:
        """Return the actions that a rule names: one, a list, or with several dimensions a table of them.

        Raises ConfigError if one is unknown; the message lists those that are known.
        """
        if self.action.dims == 1:
            return tuple(dict.fromkeys(self._part(0, one, where) for one in _listed(given)))
        if not isinstance(given, Mapping) or not given:
            raise ConfigError(
                f"{where}: expected a table from the dimensions {list(self.dimensions)} to actions, got {given!r:.80}"
            )
        found = []
        for name, several in given.items():
            if name not in self.dimensions:
                raise ConfigError(f"{where}: {unknown('action dimension', name, self.dimensions)}")
            found += [self._part(self.dimensions.index(name), one, where) for one in _listed(several)]
        return tuple(dict.fromkeys(found))

    def _part(self, dimension: int, given: Any, where: str) -> Part:
        if self.actions is not None:
            names = self.actions[dimension]
            if str(given) in names and not isinstance(given, bool):
                return Part(dimension, names.index(str(given)))
            raise ConfigError(f"{where}: {unknown('action', given, names)}")
        start, size = self.action.start[dimension], self.action.sizes[dimension]
        if isinstance(given, int) and not isinstance(given, bool) and start <= given < start + size:
            return Part(dimension, given - start)
        raise ConfigError(f"{where}: expected an action from {start} to {start + size - 1}, got {given!r:.80}")

    def column(self, name: Any, where: str) -> Column:
        """Return a leaf or a column by its name. Raises ConfigError if it is unknown; the message lists the known ones."""
        if not isinstance(name, str) or name not in self.columns:
            raise ConfigError(f"{where}: {unknown('part of the observation', name, tuple(self.columns))}")
        return self.columns[name]

    def names_of(self, parts: tuple[Part, ...]) -> list[Any]:
        """Return actions as rules write them."""
        found: list[Any] = []
        for part in parts:
            name = (
                self.action.start[part.dimension] + part.code
                if self.actions is None
                else self.actions[part.dimension][part.code]
            )
            found.append(name if self.action.dims == 1 else f"{self.dimensions[part.dimension]} = {name}")
        return found


def unknown(what: str, given: Any, known: tuple[str, ...]) -> str:
    """Return a message about a name that does not exist, with those that do."""
    near = get_close_matches(str(given), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    listed = ", ".join(repr(one) for one in known[:SHOWN]) or "none"
    return f"unknown {what} {given!r:.80}{hint or '.'} Known: {listed}{more}"


def _listed(given: Any) -> list[Any]:
    if isinstance(given, list):
        if not given:
            raise ConfigError("expected at least one action, got an empty list")
        return given
    return [given]
