"""From a row's values to an observation: vocabularies, built once on the import, kept with the dataset and the agent.

All number columns are one leaf "numbers", all categories one leaf "categories"; texts and vectors are a leaf each. A
number that was missing somewhere in the data has a second element that says so (1 where it is missing, and 0 stands for
the number). Category code 0 is "unknown": missing, too rare, or never seen in the data.

Observations are float32, which tells about 16 million whole numbers apart. A column of large numbers that lie close
together, such as times in seconds since 1970, is therefore shifted: its offset is subtracted in float64, at the import and
at service time alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.schema import Schema, nearest
from seqel.datasets.values import Lookup, as_text, is_missing
from seqel.errors import DataError
from seqel.spaces import TEXT_BUCKETS, ActionSpec, FlatObservation, Leaf, ObservationSpec, hash_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["CATEGORIES", "NUMBERS", "VOCABULARY", "Encoding", "natural"]

NUMBERS, CATEGORIES = "numbers", "categories"  # paths of the merged leaves
CONSTANT = "constant"  # path of the leaf of a table in which nothing is observed: the history alone decides
VOCABULARY = 65_536  # categories kept of a column, the most frequent


@dataclass(frozen=True)
class Encoding:
    """What turns a raw row into a flat observation, and action codes into names."""

    schema: Schema
    actions: tuple[str, ...]  # code -> name
    vocabularies: dict[str, tuple[str, ...]]  # category column -> its names; code = place + 1
    widths: dict[str, int]  # vector column -> its length
    missing: tuple[str, ...]  # number and vector columns that were missing somewhere
    offsets: dict[str, float] = field(default_factory=dict)  # number column -> what is subtracted from it, if anything
    more_actions: tuple[tuple[str, ...], ...] = ()  # code -> name, of the second action column on

    @property
    def observation(self) -> ObservationSpec:
        """The leaves: "numbers", "categories", "text/COLUMN", "vector/COLUMN", those that there are; else "constant"."""
        leaves: list[Leaf] = []
        if not self.schema.observation:
            return ObservationSpec(
                (Leaf(CONSTANT, (CONSTANT,), "vector", (1,), "uint8", (1,), low=(0.0,), high=(1.0,)),)
            )
        names = self.schema.of_kind("number")
        if names:
            leaves.append(_vector(NUMBERS, len(names), sum(name in self.missing for name in names)))
        names = self.schema.of_kind("category")
        if names:
            sizes = [len(self.vocabularies[name]) + 1 for name in names]
            if len(sizes) > 1 and len(set(sizes)) == 1:
                # Equal sizes would make the network share what it learns about a code between the columns, as for
                # cards on a table; codes of different columns have nothing in common. One unused code more prevents it.
                sizes[0] += 1
            k = len(sizes)
            leaves.append(Leaf(CATEGORIES, (CATEGORIES,), "categories", (k,), "int64", (k,), (0,) * k, tuple(sizes)))
        for name in self.schema.of_kind("text"):
            path = f"text/{name}"
            leaves.append(Leaf(path, (path,), "text", (self.schema.text_length,), "int16", sizes=(TEXT_BUCKETS,)))
        names = self.schema.of_kind("vector")
        leaves += [_vector(f"vector/{name}", self.widths[name], int(name in self.missing)) for name in names]
        return ObservationSpec(tuple(leaves))

    @property
    def action(self) -> ActionSpec:
        """As many actions as there are names, in each dimension."""
        return ActionSpec(tuple(map(len, self.names)), (0,) * len(self.names))

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """code -> name, for each of the M action columns."""
        return (self.actions, *self.more_actions)

    def action_of(self, codes: Any) -> dict[str, str]:
        """What an agent decided, a number or M numbers, as column -> name."""
        numbers = np.atleast_1d(codes).tolist()
        columns = self.schema.action_columns
        return {column: names[code] for column, names, code in zip(columns, self.names, numbers, strict=True)}

    def row(self, values: Mapping[str, Any]) -> FlatObservation:
        """One raw row, column -> value -> a flat observation without a batch axis, as the agent takes it.

        Columns that are not observed are ignored. None, "" and NaN are missing. What is missing or unknown becomes what
        it was in the data: category code 0, the empty text, 0 with its mark.

        Raises:
            DataError: a value is of the wrong kind, or a number or vector is missing that never was in the data.
        """
        out: dict[str, NDArray[Any]] = {}
        if not self.schema.observation:
            out[CONSTANT] = np.zeros(1, np.uint8)
        plain: list[float] = []
        marks: list[float] = []
        for name in self.schema.of_kind("number"):
            number = _number(name, values.get(name))
            if name in self.missing:
                marks.append(float(number is None))
            elif number is None:
                raise self._absent(name, values)
            plain.append(0.0 if number is None else number - self.offsets.get(name, 0.0))
        if plain:
            out[NUMBERS] = np.array(plain + marks, np.float32)
        codes = [self.code(name, values.get(name)) for name in self.schema.of_kind("category")]
        if codes:
            out[CATEGORIES] = np.array(codes, np.int64)
        for name in self.schema.of_kind("text"):
            value = values.get(name)
            text = "" if is_missing(value) else as_text(value)
            out[f"text/{name}"] = hash_text(text, self.schema.text_length).copy()
        for name in self.schema.of_kind("vector"):
            out[f"vector/{name}"] = self._vector(name, values)
        return FlatObservation(out)

    def rows(self, values: Iterable[Mapping[str, Any]]) -> FlatObservation:
        """R raw rows (see `row`) -> a batch as `Agent.act` takes it: every leaf with R first."""
        found = [self.row(one) for one in values]
        return FlatObservation({path: np.stack([one[path] for one in found]) for path in found[0]} if found else {})

    def code(self, column: str, value: Any) -> int:
        """Of a category; 0 where it is missing or unknown. The same for each form of a value: True and "True", 2 and 2.0."""
        place = self._lookup(column).get(value)
        return 0 if place is None else place + 1

    def _lookup(self, column: str) -> Lookup:
        cache: dict[str, Lookup] = self.__dict__.setdefault("_cache", {})
        if column not in cache:
            cache[column] = Lookup(self.vocabularies[column])
        return cache[column]

    def _vector(self, name: str, values: Mapping[str, Any]) -> NDArray[np.float32]:
        width, value = self.widths[name], values.get(name)
        if is_missing(value):
            if name not in self.missing:
                raise self._absent(name, values)
            return np.array([0.0] * width + [1.0], np.float32)
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name!r}: expected {width} numbers, got {value!r:.80}") from error
        if array.shape != (width,) or not np.isfinite(array).all():
            raise DataError(f"column {name!r}: expected {width} finite numbers, got {value!r:.80}")
        return np.append(array, np.float32(0.0)) if name in self.missing else array

    def _absent(self, name: str, values: Mapping[str, Any]) -> DataError:
        hint = "" if name in values else nearest(name, [key for key in values if key not in self.schema.observation])
        return DataError(
            f"column {name!r}: expected a value, got none, and it never was missing in the data that was learnt from{hint}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file beside the dataset or the agent."""
        found = {**asdict(self), "schema": self.schema.to_json()}
        if not self.more_actions:  # left out, it is the same as before there were several action columns
            del found["more_actions"]
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Encoding:
        """The inverse of `to_json`."""
        return cls(
            Schema.from_json(data["schema"]),
            tuple(data["actions"]),
            {name: tuple(names) for name, names in data["vocabularies"].items()},
            {name: int(width) for name, width in data["widths"].items()},
            tuple(data["missing"]),
            {name: float(offset) for name, offset in data.get("offsets", {}).items()},
            tuple(tuple(names) for names in data.get("more_actions", ())),
        )


def natural(names: Iterable[str]) -> list[str]:
    """Sorted as people do: numbers by size, also inside text ("item 2" before "item 10")."""
    return sorted(names, key=_natural_key)


def _natural_key(name: str) -> tuple[Any, ...]:
    try:
        number = float(name)
        if math.isfinite(number):
            return 0, number, (), name
    except ValueError:
        pass
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)
    return 1, 0.0, parts, name


def _number(name: str, value: Any) -> float | None:
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r}: expected a number, got {value!r:.80}") from error
    if math.isnan(number):
        return None
    if abs(number) > float(np.finfo(np.float32).max):
        raise DataError(f"column {name!r}: expected a number, finite in float32, got {value!r:.80}")
    return number


def _vector(path: str, plain: int, marks: int) -> Leaf:
    n = plain + marks
    low, high = (-math.inf,) * plain + (0.0,) * marks, (math.inf,) * plain + (1.0,) * marks
    return Leaf(path, (path,), "vector", (n,), "float32", (n,), low=low, high=high)
