"""Conditions of rules, compiled to functions of R histories at once.

A condition reads a `Moment`: the observations of the current step and, for each row, a few numbers that summarise the history
(`state`). The summary is a fold over the history, so it can be computed again from the history at any time:

    state[:, 0]   number of the current step, from 0       state[:, 1]   reward of the last action
    state[:, 2]   sum of the rewards so far
    state[:, 3 + 2 e], state[:, 4 + 2 e]   how often event e has happened, and the last step at which it did
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.safety.fields import Column, Fields, Part, unknown

__all__ = ["EVENTS", "NEVER", "Compiler", "Condition", "Event", "Moment"]

EVENTS = 3  # the first column of the first event
NEVER = -np.inf  # in place of the last step of an event that has not happened
QUANTITIES = {"step": 0, "last_reward": 1, "total_reward": 2}  # name -> column of the state
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "below": np.less,
    "at_most": np.less_equal,
    "above": np.greater,
    "at_least": np.greater_equal,
}
EQUALITIES = ("is", "is_not")


@dataclass(frozen=True, slots=True)
class Moment:
    """The current step of R histories."""

    observation: Mapping[str, NDArray[Any]]  # leaves (R, *shape)
    state: NDArray[np.float64]  # (R, K)


Condition = Callable[[Moment], NDArray[np.bool_]]  # -> (R,)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is counted: an action was taken (`parts`), or a condition held at an observation (`seen`)."""

    parts: tuple[Part, ...] = ()
    seen: Condition | None = None


@dataclass
class Compiler:
    """Compiles the tables of a TOML file to conditions, and collects the events that they count."""

    fields: Fields
    events: list[Event] = field(default_factory=list)

    def condition(self, table: Any, where: str, inside_event: bool = False) -> Condition:
        """Compile one condition. Raises ConfigError if it is not one, or names something unknown."""
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}: expected a condition, a table with one of {_KINDS}, got {table!r:.80}")
        kinds = [kind for kind in _KINDS if kind in table]
        if len(kinds) != 1:
            got = kinds or sorted(map(str, table))
            raise ConfigError(f"{where}: expected exactly one of {', '.join(_KINDS)}, got {got}")
        kind = kinds[0]
        where = f"{where}.{kind}"
        if kind in ("all", "any", "not"):
            _only(table, (kind,), where)
            if kind == "not":
                inner = self.condition(table[kind], where, inside_event)
                return lambda moment: ~inner(moment)
            if not isinstance(table[kind], list) or not table[kind]:
                raise ConfigError(f"{where}: expected a list of conditions, got {table[kind]!r:.80}")
            parts = [self.condition(one, f"{where}[{number}]", inside_event) for number, one in enumerate(table[kind])]
            join = np.logical_and if kind == "all" else np.logical_or
            return lambda moment: join.reduce([part(moment) for part in parts])
        if kind == "leaf":
            return self._leaf(table, where)
        if kind == "quantity":
            return self._quantity(table, where)
        if inside_event:
            raise ConfigError(f"{where}: expected only leaf, quantity, all, any and not inside `seen`")
        return self._event(kind, table, where)

    # -- values at the current step --------------------------------------------------------------------------------------

    def _leaf(self, table: Mapping[str, Any], where: str) -> Condition:
        column = self.fields.column(table["leaf"], where)
        name, limit = _comparison(table, ("leaf", "index"), where)
        size = len(column.elements)
        if "index" not in table and size > 1:
            raise ConfigError(
                f"{where}: {table['leaf']!r} has {size} elements: say which, with index = 0 to {size - 1}"
            )
        index = table.get("index", 0)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
            raise ConfigError(f"{where}: expected an index from 0 to {size - 1}, got {index!r:.80}")
        read = _reader(column, index)
        if column.names is not None:
            return _category(column.names, name, limit, read, where)
        compare = _compare(name, limit, where, column.dtype, float(column.offset[index]))
        return lambda moment: _present(column, moment) & compare(read(moment.observation))

    def _quantity(self, table: Mapping[str, Any], where: str) -> Condition:
        name, limit = _comparison(table, ("quantity",), where)
        if table["quantity"] not in QUANTITIES:
            raise ConfigError(f"{where}: {unknown('quantity', table['quantity'], tuple(QUANTITIES))}")
        place = QUANTITIES[table["quantity"]]
        compare = _compare(name, limit, where, "float32" if table["quantity"] == "last_reward" else "float64")
        return lambda moment: compare(moment.state[:, place])

    # -- the past --------------------------------------------------------------------------------------------------------

    def _event(self, kind: str, table: Mapping[str, Any], where: str) -> Condition:
        _only(table, (kind, "times", "within"), where)
        if "times" in table and "within" in table:
            raise ConfigError(f"{where}: expected times or within, got both")
        event = (
            Event(parts=self.fields.parts(table[kind], where))
            if kind == "taken"
            else Event(seen=self.condition(table[kind], where, inside_event=True))
        )
        count, last = self.count(event)
        if "within" in table:
            steps = whole(table["within"], f"{where}: within", 1 if kind == "taken" else 0)
            return lambda moment: moment.state[:, 0] - moment.state[:, last] <= steps
        times = whole(table.get("times", 1), f"{where}: times", 1)
        return lambda moment: moment.state[:, count] >= times

    def count(self, event: Event) -> tuple[int, int]:
        """Count an event from now on. -> the columns of the state for how often it happened, and when last."""
        self.events.append(event)
        first = EVENTS + 2 * (len(self.events) - 1)
        return first, first + 1


_KINDS = ("leaf", "quantity", "taken", "seen", "all", "any", "not")


def whole(value: Any, where: str, least: int) -> int:
    """Return a whole number. Raises ConfigError if it is none, or below `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 53:
        raise ConfigError(f"{where}: expected a whole number of at least {least}, got {value!r:.80}")
    return value


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(f"{where}: {unknown('key', name, known)}")


def _comparison(table: Mapping[str, Any], others: tuple[str, ...], where: str) -> tuple[str, Any]:
    known = (*COMPARISONS, *EQUALITIES)
    _only(table, (*others, *known), where)
    given = [name for name in known if name in table]
    if len(given) != 1:
        raise ConfigError(f"{where}: expected exactly one of {', '.join(known)}, got {given or 'none'}")
    return given[0], table[given[0]]


def _compare(
    name: str, limit: Any, where: str, dtype: str, offset: float = 0.0
) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    """Compare stored values with a limit that is stored as they are: rounded to float32 if they are, so that 0.1 is 0.1."""

    def stored(value: Any) -> float:
        number = _number(value, where) - offset
        with np.errstate(over="ignore"):
            return float(np.dtype(dtype).type(number)) if np.dtype(dtype).kind == "f" else number

    if name in EQUALITIES:
        values = np.array([stored(one) for one in (limit if isinstance(limit, list) else [limit])])
        return lambda read: np.isin(read, values, invert=name == "is_not")
    bound, function = stored(limit), COMPARISONS[name]
    return lambda read: np.asarray(function(read, bound), bool)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{where}: expected a finite number, got {value!r:.80}")
    return float(value)


def _category(
    names: tuple[str, ...], name: str, given: Any, read: Callable[[Any], NDArray[np.float64]], where: str
) -> Condition:
    if name not in EQUALITIES:
        raise ConfigError(f"{where}: expected is or is_not, because it has categories, got {name}")
    codes = []
    for one in given if isinstance(given, list) else [given]:
        if str(one) not in names:
            raise ConfigError(f"{where}: {unknown('category', one, names)}")
        codes.append(names.index(str(one)) + 1)
    wanted = np.array(codes, np.float64)
    return lambda moment: np.isin(read(moment.observation), wanted, invert=name == "is_not")


def _reader(column: Column, index: int) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float64]]:
    place = int(column.elements[index])

    def read(observation: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        leaf = observation[column.path]
        found: NDArray[np.float64] = leaf.reshape(len(leaf), -1)[:, place].astype(np.float64)
        return found

    return read


def _present(column: Column, moment: Moment) -> NDArray[np.bool_]:
    leaf = moment.observation[column.path]
    if column.missing is None:
        return np.ones(len(leaf), bool)
    found: NDArray[np.bool_] = leaf.reshape(len(leaf), -1)[:, column.missing] == 0.0
    return found
