"""Encodes the values of a row as an observation. The import builds it once; dataset and agent both store it.

All number columns form one leaf "numbers" and all categories one leaf "categories"; each text, vector and entities column is
a leaf. A number that was missing somewhere in the data has a second element, which is 1 where it is missing (the number is
then 0). Category code 0 means "unknown": missing, too rare, or not in the data.

Observations are float32, which represents integers exactly up to about 16 million. A column of large numbers that are close
together, such as times in seconds since 1970, is therefore shifted: an offset is subtracted in float64, both on import and
when the agent is in service.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.schema import Schema, nearest
from seqel.datasets.text_columns import text_reader
from seqel.datasets.values import Lookup, as_text, is_missing
from seqel.errors import DataError, SpaceError
from seqel.spaces import ActionSpec, FlatObservation, Leaf, ObservationSpec
from seqel.spaces.kinds.registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["CATEGORIES", "CONSTANT", "NUMBERS", "VOCABULARY", "Encoding", "natural"]

NUMBERS, CATEGORIES = "numbers", "categories"  # paths of the merged leaves
CONSTANT = "constant"  # path of the only leaf of a table without observations: only the history matters then
VOCABULARY = 65_536  # number of categories of a column that are kept, the most frequent ones


@dataclass(frozen=True)
class Encoding:
    """Encodes raw rows as flat observations, and maps action codes to names."""

    schema: Schema
    actions: tuple[str, ...]  # code -> name
    vocabularies: dict[str, tuple[str, ...]]  # category column -> its names; code = index + 1
    widths: dict[str, int]  # vector or entities column -> its length, or the features of an entity
    missing: tuple[str, ...]  # number and vector columns that were missing somewhere
    offsets: dict[str, float] = field(default_factory=dict)  # number column -> what is subtracted from it, if anything
    more_actions: tuple[tuple[str, ...], ...] = ()  # code -> name, of the second action column on
    reader: str = ""  # the name of the reader of text columns; "": hashed trigrams

    @property
    def observation(self) -> ObservationSpec:
        """The leaves "numbers", "categories", "text/NAME", "vector/NAME", "entities/NAME" that exist, else "constant"."""
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
                # cards on a table; codes of different columns are unrelated. One more, unused code prevents that.
                sizes[0] += 1
            k = len(sizes)
            leaves.append(Leaf(CATEGORIES, (CATEGORIES,), "categories", (k,), "int64", (k,), (0,) * k, tuple(sizes)))
        for name in self.schema.of_kind("text"):
            path = f"text/{name}"
            leaves.append(text_reader(self.reader, self.schema).leaf(path, (path,)))
        names = self.schema.of_kind("vector")
        leaves += [_vector(f"vector/{name}", self.widths[name], int(name in self.missing)) for name in names]
        leaves += [
            _entities(name, self.widths[name], self.schema.most_entities) for name in self.schema.of_kind("entities")
        ]
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
        """Return an agent's decision, a number or M numbers, as column -> name."""
        numbers = np.atleast_1d(codes).tolist()
        columns = self.schema.action_columns
        return {column: names[code] for column, names, code in zip(columns, self.names, numbers, strict=True)}

    def row(self, values: Mapping[str, Any]) -> FlatObservation:
        """Encode one raw row (column -> value) as a flat observation without a batch axis, as the agent takes it.

        Columns that are not observed are ignored. None, "" and NaN are missing. Missing or unknown values are encoded as
        in the import: category code 0, the empty text, or 0 with its mark.

        Raises:
            DataError: a value has the wrong kind, or a number or vector is missing that was never missing in the data.
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
            out[f"text/{name}"] = text_reader(self.reader, self.schema).read([text])[0]
        for name in self.schema.of_kind("vector"):
            out[f"vector/{name}"] = self._vector(name, values)
        for name in self.schema.of_kind("entities"):
            out[f"entities/{name}"] = self._rows_of(name, values)
        return FlatObservation(out)

    def rows(self, values: Iterable[Mapping[str, Any]]) -> FlatObservation:
        """Encode R raw rows (see `row`) as a batch for `Agent.act`: every leaf is (R, *shape)."""
        found = [self.row(one) for one in values]
        return FlatObservation({path: np.stack([one[path] for one in found]) for path in found[0]} if found else {})

    def code(self, column: str, value: Any) -> int:
        """Return the code of a category; 0 if missing or unknown. All forms of a value count: True and "True", 2 and 2.0."""
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

    def _rows_of(self, name: str, values: Mapping[str, Any]) -> NDArray[np.float32]:
        """A missing set is an empty one."""
        value = values.get(name)
        leaf = _entities(name, self.widths[name], self.schema.most_entities)
        try:
            return KINDS[leaf.kind].read(leaf, () if is_missing(value) else value, None)
        except SpaceError as error:
            raise DataError(f"column {name!r}: {str(error).partition(': ')[2]}") from error

    def _absent(self, name: str, values: Mapping[str, Any]) -> DataError:
        hint = "" if name in values else nearest(name, [key for key in values if key not in self.schema.observation])
        return DataError(
            f"column {name!r}: expected a value, got none; it was never missing in the training data{hint}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a file with the dataset or the agent."""
        found = {**asdict(self), "schema": self.schema.to_json()}
        if not self.more_actions:  # omitted, so that encodings with one action column stay the same as older ones
            del found["more_actions"]
        if not self.reader:  # likewise
            del found["reader"]
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Encoding:
        """Make an encoding from the result of `to_json`."""
        return cls(
            Schema.from_json(data["schema"]),
            tuple(data["actions"]),
            {name: tuple(names) for name, names in data["vocabularies"].items()},
            {name: int(width) for name, width in data["widths"].items()},
            tuple(data["missing"]),
            {name: float(offset) for name, offset in data.get("offsets", {}).items()},
            tuple(tuple(names) for names in data.get("more_actions", ())),
            str(data.get("reader", "")),
        )


def natural(names: Iterable[str]) -> list[str]:
    """Sort in natural order: numbers by size, also inside text ("item 2" before "item 10")."""
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


def _entities(column: str, features: int, most: int) -> Leaf:
    path, low, high = f"entities/{column}", (-math.inf,) * features, (math.inf,) * features
    return Leaf(path, (path,), "entities", (most, features + 1), "float32", low=low, high=high)
