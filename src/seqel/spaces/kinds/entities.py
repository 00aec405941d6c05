"""Sets of entities: rows of numbers whose order says nothing, some of them absent.

Two spaces are of this kind, anywhere in a nested observation:

    Dict({"entities": Box (N, F), "present": MultiBinary(N) or Box of 0 and 1 (N,)})   and no other key
    Sequence(Box (F,))   of any length; how many there can be has to be said (`LIMIT` where nothing is)

Either is stored as one float32 array (N, F + 1): the features, and 1 where a row is present. An absent row is stored as
zeros, whatever the environment had left there.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError
from seqel.spaces.kinds.base import Hint, Keys, ObservationKind, Sketch
from seqel.spaces.leaf import Leaf
from seqel.spaces.precision import shift_for, shifted

__all__ = ["LIMIT", "EntitiesKind"]

ROWS, PRESENT = "entities", "present"  # keys of the Dict
LIMIT = 32  # entities of a Sequence, where neither the setting `observation` nor the environment's metadata says more
SIGNS = 16  # random projections of a row, for counting


class EntitiesKind(ObservationKind):
    """A set of rows; `low` and `high` have one bound per feature."""

    name = "entities"
    reads = "a set of entities, in any order; the last number of each says whether it is present"
    hints = "N, the most entities of a Sequence"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        if isinstance(space, spaces.Sequence):
            row = space.feature_space
            if not isinstance(row, spaces.Box) or len(row.shape) != 1 or not row.shape[0]:
                return None
            count = LIMIT if hint is None else hint
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigError(f"observation {path!r}: expected how many entities there can be, got {hint!r}")
            return self._leaf(row.low[None], row.high[None], path, keys, count, ())
        if not isinstance(space, spaces.Dict) or set(space.spaces) != {ROWS, PRESENT}:
            return None
        rows, present = space.spaces[ROWS], space.spaces[PRESENT]
        if not isinstance(rows, spaces.Box) or len(rows.shape) != 2 or 0 in rows.shape or not _is_binary(present):
            return None
        if present.shape != rows.shape[:1]:
            raise SpaceError(
                f"observation {path!r}: expected {PRESENT!r} to have a value for each of {rows.shape[0]} rows, got {present}"
            )
        if hint is not None:
            raise ConfigError(
                f"observation {path!r}: its space says how many entities are possible, {rows.shape[0]}, got {hint!r}"
            )
        return self._leaf(rows.low, rows.high, path, keys, rows.shape[0], (rows.shape[0], rows.shape[1]))

    def _leaf(
        self, low: NDArray[Any], high: NDArray[Any], path: str, keys: Keys, count: int, given: tuple[int, ...]
    ) -> Leaf:
        """low, high (rows, F): the order says nothing, so a feature has the widest bounds of all rows."""
        least, greatest = low.min(axis=0), high.max(axis=0)
        offset = shift_for(least, greatest)
        shift = np.asarray(offset or 0.0, np.float64)
        bounds = [tuple(float(n) for n in bound.astype(np.float64) - shift) for bound in (least, greatest)]
        shape = (count, len(least) + 1)
        return Leaf(path, keys, self.name, shape, "float32", given, offset, low=bounds[0], high=bounds[1])

    def read(self, leaf: Leaf, value: Any, batch: int | None) -> NDArray[Any]:
        lead = () if batch is None else (batch,)
        try:
            rows, present = self._parts(leaf, value, lead)
            there = np.asarray(present) != 0
            kept = np.where(there[..., None], shifted(leaf, rows), 0)
            with np.errstate(over="ignore"):
                out = np.concatenate([kept, there[..., None]], axis=-1).astype(np.float32)
        except (TypeError, ValueError, KeyError) as error:  # ragged, None, not numbers
            if isinstance(error, SpaceError):
                raise
            raise SpaceError(f"observation {leaf.path!r}: expected rows of numbers, got {value!r:.80}") from error
        if not np.isfinite(out).all():
            at = np.argwhere(~np.isfinite(out))[0].tolist()
            raise SpaceError(
                f"observation {leaf.path!r}: expected finite numbers of entities that are present, got "
                f"{out[tuple(at)]} at {at}"
            )
        return out

    def _parts(self, leaf: Leaf, value: Any, lead: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        """(*lead, N, F), and which of them are present, (*lead, N)."""
        count, features = leaf.shape[0], leaf.shape[1] - 1
        if isinstance(value, Mapping):
            missing = {ROWS, PRESENT} - set(value)
            if missing:
                raise SpaceError(f"observation {leaf.path!r}: expected {ROWS!r} and {PRESENT!r}, got {sorted(value)}")
            rows, present = np.asarray(value[ROWS]), np.asarray(value[PRESENT])
        elif isinstance(value, np.ndarray) and value.shape == (*lead, *leaf.shape):  # as stored
            rows, present = value[..., :-1], value[..., -1]
        else:
            return self._padded(leaf, value, lead)
        if rows.shape != (*lead, count, features) or present.shape != (*lead, count):
            raise SpaceError(
                f"observation {leaf.path!r}: expected {ROWS} {[*lead, count, features]} and {PRESENT} {[*lead, count]} as "
                f"the space says, got {list(rows.shape)} and {list(present.shape)}"
            )
        if not ((present == 0) | (present == 1)).all():
            raise SpaceError(f"observation {leaf.path!r}: expected {PRESENT} to be 0 or 1, got {present!r:.80}")
        return rows, present

    def _padded(self, leaf: Leaf, value: Any, lead: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Sets of different sizes."""
        count, features = leaf.shape[0], leaf.shape[1] - 1
        sets = list(value) if lead else [value]
        if lead and len(sets) != lead[0]:
            raise SpaceError(f"observation {leaf.path!r}: expected {lead[0]} sets of entities, got {len(sets)}")
        sizes = np.array([len(one) for one in sets], np.int64)
        if sizes.size and sizes.max() > count:
            raise SpaceError(
                f"observation {leaf.path!r}: expected at most {count} entities, got {sizes.max()}: say how many there can "
                f"be, with --set observation.{leaf.path}={1 << int(sizes.max() - 1).bit_length()}, or in the environment's "
                f"metadata (metadata['seqel'] = {{'observation': {{{leaf.path!r}: ...}}}}), and train again"
            )
        given = list(chain.from_iterable(sets))
        flat = np.asarray(given) if given else np.zeros((0, features))
        if flat.shape != (len(given), features):
            raise SpaceError(
                f"observation {leaf.path!r}: expected entities of {features} numbers each, got {list(flat.shape[1:])}"
            )
        present = np.arange(count) < sizes[:, None]
        rows = np.zeros((*present.shape, features), flat.dtype)
        rows[present] = flat
        return (rows, present) if lead else (rows[0], present[0])

    def is_single(self, leaf: Leaf, value: Any) -> bool:
        if isinstance(value, Mapping):
            return np.ndim(value.get(PRESENT, ())) <= 1
        if isinstance(value, np.ndarray) and value.dtype != object:
            return value.ndim <= 2
        try:
            some = next((one for one in value if len(one)), None)
            if some is None:  # () is one empty set, ((), ()) are two
                return len(value) == 0
            return np.ndim(some[0]) == 0
        except (TypeError, KeyError) as error:
            raise SpaceError(f"observation {leaf.path!r}: expected rows of numbers, got {value!r:.80}") from error

    lacks_batch_axis = is_single

    def rows(self, value: Any) -> int:
        return len(value[PRESENT] if isinstance(value, Mapping) else value)

    def hint(self, leaf: Leaf) -> Hint | None:
        return None if leaf.given else leaf.shape[0]

    def sketch_width(self, leaf: Leaf) -> int:
        return 1

    def sketcher(self, leaf: Leaf, rng: np.random.Generator) -> Sketch:
        """The sum of one code per present row, so that the order says nothing here either."""
        directions = rng.standard_normal((leaf.shape[1] - 1, SIGNS)).astype(np.float32)
        odd = rng.integers(1 << 62, size=SIGNS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

        def sketch(x: Any, normalise: Any) -> Any:
            signs = normalise(leaf.path, x[..., :-1]) @ directions > 0  # (E, N, SIGNS)
            code = ((signs + np.uint64(1)) * odd).sum(axis=-1, dtype=np.uint64)
            code = (code ^ (code >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
            return np.where(x[..., -1] > 0, code, np.uint64(0)).sum(axis=1, dtype=np.uint64).astype(np.int64)[:, None]

        return sketch


def _is_binary(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.MultiBinary):
        return True
    return isinstance(space, spaces.Box) and bool((space.low >= 0).all() and (space.high <= 1).all())
