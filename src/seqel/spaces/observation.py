"""Gymnasium observation spaces -> the leaves that tokens are made of.

A (nested) observation space becomes a flat tuple of `Leaf`s, each of a kind (`kinds/registry.py`) that decides how it is
read and embedded. Everything in this room is numpy and JSON: no torch, so that the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError
from seqel.spaces.kinds.base import Hint
from seqel.spaces.kinds.registry import KINDS, describe, supported
from seqel.spaces.leaf import Leaf
from seqel.spaces.text_readers import HASHED, TextReader, reader_from_name, reader_of, register

__all__ = ["FlatObservation", "ObservationSpec"]


class FlatObservation(dict[str, NDArray[Any]]):
    """A flat dict of leaves, distinguished from a nested observation by its type: no guessing on the hot path."""


@dataclass(frozen=True, slots=True)
class ObservationSpec:
    """The leaves of an observation space, in a fixed order."""

    leaves: tuple[Leaf, ...]

    @classmethod
    def from_space(cls, space: spaces.Space[Any], read_as: Mapping[str, Hint] | None = None) -> ObservationSpec:
        """Read a Gymnasium space.

        `read_as`: what a space does not tell (or tells wrongly) of the leaf with this path: "pixels" or "codes" of an
        integer grid, the most entities of a Sequence, the bytes of a text to read.

        Raises:
            SpaceError: names the part that is not supported, and what would work.
            ConfigError: `read_as` names no leaf, or one that cannot be read so.
        """
        leaves: list[Leaf] = []
        _collect(space, (), leaves, dict(read_as or {}))
        if not leaves:
            raise SpaceError(f"the observation space {space} has no leaves: there is nothing to observe. {supported()}")
        paths = [leaf.path for leaf in leaves]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise SpaceError(f"the observation space {space} has two parts called {twice[0]!r}: rename a key")
        unknown = sorted(set(read_as or {}) - set(paths))
        if unknown:
            raise ConfigError(f"observation: expected paths among {paths}, got {unknown[0]!r}")
        return cls(tuple(leaves))

    def same_reading(self, space: spaces.Space[Any]) -> ObservationSpec:
        """The leaves of another space, read as they are here where a space does not tell (pixels or codes, say).

        Raises:
            SpaceError: as `from_space`.
        """
        hints = {leaf.path: KINDS[leaf.kind].hint(leaf) for leaf in self.leaves}
        read_as = {path: hint for path, hint in hints.items() if hint is not None}
        try:
            found = ObservationSpec.from_space(space, read_as)
        except ConfigError:  # another space altogether
            found = ObservationSpec.from_space(space)
        readers = {leaf.path: reader_of(leaf) for leaf in self.texts if leaf.reader != HASHED}
        return found._with_readers(readers)

    @property
    def texts(self) -> tuple[Leaf, ...]:
        """The leaves that are texts."""
        return tuple(leaf for leaf in self.leaves if leaf.kind == "text")

    @property
    def text_reader(self) -> TextReader | None:
        """The reader of the texts, which all have the same; None for hashed trigrams, or if there is no text.

        Raises SpaceError if the reader is not loaded.
        """
        names = {leaf.reader for leaf in self.texts} - {HASHED}
        return reader_from_name(names.pop()) if names else None

    def with_text_reader(self, reader: TextReader) -> ObservationSpec:
        """Return the spec with every text read by `reader`, which is registered."""
        register(reader)
        return self._with_readers({leaf.path: reader for leaf in self.texts})

    def _with_readers(self, readers: Mapping[str, TextReader]) -> ObservationSpec:
        return ObservationSpec(
            tuple(
                readers[leaf.path].leaf(leaf.path, leaf.keys) if leaf.kind == "text" and leaf.path in readers else leaf
                for leaf in self.leaves
            )
        )

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> ObservationSpec:
        """The inverse of `to_json`."""
        leaves: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in leaf.items()} for leaf in data
        ]
        return cls(tuple(Leaf(**leaf) for leaf in leaves))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and dicts, for `config.json`. The name of a text's reader is left out where there is none to name."""
        found = [asdict(leaf) for leaf in self.leaves]
        for leaf in found:
            if leaf["reader"] == HASHED:
                del leaf["reader"]
        return found

    @property
    def storage(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of every leaf, as replay stores them."""
        return {leaf.path: (leaf.shape, np.dtype(leaf.dtype)) for leaf in self.leaves}

    def flatten(self, observation: Any, batch: int | None) -> FlatObservation:
        """A nested observation as the environment gives it -> a flat dict of arrays (batch, *shape).

        `batch` None: one observation without a batch axis; the result has none either.

        Raises:
            SpaceError: a leaf is missing, has another shape than its space said, or a code outside its space.
        """
        return FlatObservation(
            (leaf.path, KINDS[leaf.kind].read(leaf, leaf.pick(observation), batch)) for leaf in self.leaves
        )

    def rows(self, observation: Any) -> int:
        """The number of rows of a batch of observations, nested or flat, according to its first leaf.

        Raises:
            SpaceError: that leaf is missing, or has no batch axis.
        """
        leaf = self.leaves[0]
        flat = isinstance(observation, FlatObservation)
        value = observation[leaf.path] if flat else leaf.pick(observation)
        kind = KINDS[leaf.kind]
        single = np.ndim(value) <= len(leaf.shape) if flat else kind.lacks_batch_axis(leaf, value)
        if single:
            raise SpaceError(
                f"observation {leaf.path!r}: expected a batch, every leaf with one row per environment first, got a single "
                "observation. Add the axis (`observation[None]`), or use `predict`, which takes both"
            )
        return len(value) if flat else kind.rows(value)

    def is_single(self, observation: Any) -> bool:
        """Whether this nested observation has no batch axis, according to its first leaf.

        Raises:
            SpaceError: that leaf is missing.
        """
        leaf = self.leaves[0]
        return KINDS[leaf.kind].is_single(leaf, leaf.pick(observation))


def _collect(
    space: spaces.Space[Any], keys: tuple[str | int, ...], leaves: list[Leaf], hints: Mapping[str, Hint]
) -> None:
    path = "/".join(map(str, keys)) or "observation"
    leaf = describe(space, path, keys, hints.get(path))
    if leaf is not None:
        leaves.append(leaf)
    elif isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            _collect(part, (*keys, name), leaves, hints)
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            _collect(part, (*keys, number), leaves, hints)
