"""The features by which decisions are monitored: from flat observations, actions and scores to one row of numbers each.

Each component of a short vector and each category is a feature. An image, a grid and a long vector are described by their
mean, standard deviation and share of zeros; a text by its length, and by whether it is empty; entities by how many are
present and the mean of each of their numbers. The actions and `q_max` are features as well. A row is float64, and NaN is a
missing value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seqel.errors import SpaceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.datasets.encoding import Encoding
    from seqel.deployment.runtime import ExportedAgent
    from seqel.spaces import ActionSpec, ObservationSpec
    from seqel.spaces.leaf import Leaf

__all__ = ["ACTION", "MOST_FEATURES", "Q_MAX", "FeatureMap", "feature_map"]

ACTION, Q_MAX = "action", "q_max"
MOST_FEATURES = 256  # of the observation; the longest leaves are summarised until there are no more
LONGEST = 64  # components of a vector that are features of their own
SUMMARY = ("mean", "standard deviation", "share of zeros")

Kind = Literal["number", "category"]


@dataclass(frozen=True)
class _Part:
    """How one leaf becomes columns."""

    leaf: Leaf
    how: Literal["components", "summary", "text", "entities"]
    names: tuple[str, ...]


class FeatureMap:
    """Which features the observations of a space have, and how they are computed.

    Args:
        encoding: of the table that the agent was trained on, whose columns then name the features.

    Attributes:
        names: of the features, F in all: those of the observation, the actions, and `q_max`.
        kinds: "number" or "category", by feature.
    """

    def __init__(self, observation: ObservationSpec, action: ActionSpec, encoding: Encoding | None = None) -> None:
        self.observation, self.action = observation, action
        columns = {} if encoding is None else _columns(encoding)
        summarised = {leaf.path for leaf in observation.leaves if leaf.kind == "vector" and _size(leaf) > LONGEST}
        self._parts = self._plan(columns, summarised)
        while sum(len(part.names) for part in self._parts) > MOST_FEATURES:
            longest = max(self._parts, key=lambda part: len(part.names))
            if len(longest.names) <= len(SUMMARY):
                break
            summarised.add(longest.leaf.path)
            self._parts = self._plan(columns, summarised)
        names = [name for part in self._parts for name in part.names]
        coded = [
            part.how == "components" and part.leaf.kind in ("categories", "token")
            for part in self._parts
            for _ in part.names
        ]
        self.kinds: list[Kind] = ["category" if one else "number" for one in coded]
        dims = action.dims
        names += [ACTION] if dims == 1 else [f"{ACTION}[{place}]" for place in range(dims)]
        self.kinds += ["category"] * dims
        self.names = [*_distinct(names), Q_MAX]
        self.kinds.append("number")

    def _plan(self, columns: Mapping[str, tuple[str, ...]], summarised: set[str]) -> list[_Part]:
        return [_part(leaf, columns.get(leaf.path), leaf.path in summarised) for leaf in self.observation.leaves]

    def __len__(self) -> int:
        """Return F, the number of features."""
        return len(self.names)

    @property
    def observed(self) -> int:
        """How many features are those of the observation; they come first."""
        return len(self.names) - self.action.dims - 1

    def rows(self, observation: Mapping[str, Any], action: Any = None, q_max: Any = None) -> NDArray[np.float64]:
        """Return the features of R decisions, (R, F).

        Args:
            observation: a flat observation, each leaf (R, *shape), as `ObservationSpec.flatten` returns it. Numbers may
                be NaN, where they are missing.
            action: (R,) or (R, M), as the agent gives them; None: unknown.
            q_max: (R,); None: unknown.

        Raises SpaceError: a leaf is missing or has another shape, or the numbers of rows differ.
        """
        found = [self._leaf(part, observation) for part in self._parts]
        rows, dims = len(found[0]), self.action.dims
        width = self.observed
        out = np.empty((rows, len(self.names)))
        start = 0
        for part in found:
            if len(part) != rows:
                raise SpaceError(f"expected leaves with as many rows each, got {rows} and {len(part)}")
            out[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        for what, value, place, columns in ((ACTION, action, width, dims), (Q_MAX, q_max, width + dims, 1)):
            if value is None:
                out[:, place : place + columns] = np.nan
                continue
            array = np.asarray(value)
            if array.size != rows * columns:
                raise SpaceError(f"{what}: expected {columns} for each of {rows} rows, got {list(array.shape)}")
            out[:, place : place + columns] = array.reshape(rows, columns)
        last = out[:, -1]
        last[~np.isfinite(last)] = np.nan
        return out

    def _leaf(self, part: _Part, observation: Mapping[str, Any]) -> NDArray[np.float64]:
        leaf = part.leaf
        if leaf.path not in observation:
            raise SpaceError(f"the observation lacks {leaf.path!r}; got {sorted(observation)}")
        value = np.asarray(observation[leaf.path])
        if value.shape[1:] != leaf.shape:
            raise SpaceError(f"observation {leaf.path!r}: expected {['R', *leaf.shape]}, got {list(value.shape)}")
        flat = value.reshape(len(value), -1)
        if part.how == "components":
            return np.asarray(flat, np.float64)
        if part.how == "entities":
            return _entities(np.asarray(value, np.float64))
        if part.how == "text":
            length = (flat != 0).sum(axis=1)
            return np.stack([length, length == 0], axis=1).astype(np.float64)
        numbers = np.asarray(flat, np.float64)
        return np.stack([numbers.mean(axis=1), numbers.std(axis=1), (numbers == 0).mean(axis=1)], axis=1)


def feature_map(agent: Agent | ExportedAgent) -> FeatureMap:
    """Return the features of an agent's spaces, named by the columns of the table that it was trained on, if any."""
    from seqel.datasets.encoding import Encoding

    kept = agent.info.get("encoding")
    encoding = None if kept is None else Encoding.from_json(kept)
    return FeatureMap(agent.observation_spec, agent.action_spec, encoding)


def _part(leaf: Leaf, columns: tuple[str, ...] | None, summarised: bool) -> _Part:
    if leaf.kind == "entities" and not summarised:
        features = leaf.shape[1] - 1
        return _Part(leaf, "entities", _named(leaf.path, ("present", *(f"mean of {n}" for n in range(features)))))
    if leaf.kind == "text" and leaf.dtype != "float32":
        return _Part(leaf, "text", _named(leaf.path, ("length", "empty")))
    if leaf.kind in ("vector", "categories", "token") and not summarised:
        size = _size(leaf)
        if columns is not None and len(columns) == size:
            return _Part(leaf, "components", columns)
        return _Part(leaf, "components", (leaf.path,) if size == 1 else tuple(f"{leaf.path}[{n}]" for n in range(size)))
    return _Part(leaf, "summary", _named(leaf.path, SUMMARY))


def _named(path: str, what: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{path}: {one}" for one in what)


def _size(leaf: Leaf) -> int:
    return int(np.prod(leaf.shape))


def _entities(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """value (R, N, F + 1) -> how many are present, and the mean of each number over them; NaN if none is."""
    there = value[..., -1] > 0
    count = there.sum(axis=1)
    total = np.where(there[..., None], value[..., :-1], 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([count[:, None], total / count[:, None]], axis=1)


def _columns(encoding: Encoding) -> dict[str, tuple[str, ...]]:
    """Return the names of the table's columns, by leaf."""
    from seqel.datasets.encoding import CATEGORIES, NUMBERS

    numbers = encoding.schema.of_kind("number")
    marks = tuple(f"{name} is missing" for name in numbers if name in encoding.missing)
    return {NUMBERS: (*numbers, *marks), CATEGORIES: tuple(encoding.schema.of_kind("category"))}


def _distinct(names: list[str]) -> list[str]:
    """Return the names with a number added to those that occur twice or are those of other features."""
    found: list[str] = []
    taken = {Q_MAX}
    for name in names:
        one, number = name, 2
        while one in taken:
            one, number = f"{name} ({number})", number + 1
        taken.add(one)
        found.append(one)
    return found
