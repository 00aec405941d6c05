"""The schema of a table: a short TOML file that says what the columns mean. It is read strictly.

    session = "user"            # rows with the same value are one episode
    order = "time"              # a number or a date; without it, the order of the rows in the file
    action = "shown"
    reward = "clicked"

    [observation]
    age = "number"              # also "category", "text", "vector" (a list of numbers), "entities" (lists of numbers)

Without [observation] the agent only sees the history of actions and rewards, as in a log of (user, item, rating, time).

If several things are decided at once, `action` is a list of columns: action = ["dose", "fluid"].

Each row is one step: first the observation, then the action taken, then its reward.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["KINDS", "Schema", "nearest"]

KINDS = ("number", "category", "text", "vector", "entities")
ENDS = ("terminated", "truncated")
TEXT_LENGTH, LONGEST_TEXT = 64, 4096  # as in `seqel.spaces.text_readers`, which would import numpy
ENTITIES = 32  # `seqel.spaces.kinds.entities.LIMIT`


@dataclass(frozen=True)
class Schema:
    """The role of each column. Names are the table's column names.

    action: a column, or a tuple of columns, one for each of M action dimensions. `actions` then has a tuple of names for
    each of them, and `mask` a column for each, with a list of yes/no values.
    ends: what the last row of a session means if no column says so: "terminated" (the task was over) or "truncated" (the
    recording stopped; the value of what follows is estimated). mask: one column with a list of A yes/no values, or A yes/no
    columns in the order of the actions. candidates: a column with a list of the names of the available actions; requires
    `actions`. actions: the names of all actions, in order; if not given, those that occur, sorted. text_length: the number
    of bytes (byte trigrams) that are read of an observed text; the rest is ignored.
    most_entities: the largest number of entities in a row of such a column.

    Raises:
        ConfigError: a value has the wrong type, a kind is unknown, or a column has two roles.
    """

    session: str
    action: str | tuple[str, ...]
    reward: str
    observation: dict[str, str] = field(default_factory=dict)  # column -> kind
    order: str | None = None
    terminated: str | None = None
    truncated: str | None = None
    behaviour_probability: str | None = None
    mask: str | tuple[str, ...] | None = None
    actions: tuple[Any, ...] | None = None  # names; with several action columns a tuple of names for each
    ends: str = "terminated"
    candidates: str | None = None
    text_length: int = TEXT_LENGTH
    most_entities: int = ENTITIES

    def __post_init__(self) -> None:
        several = isinstance(self.action, tuple)
        for name in SINGLE:
            value: Any = getattr(self, name)
            optional = name not in REQUIRED
            if name == "action" and several:
                self._check_several(value)
                continue
            if value == "?":
                raise ConfigError(f'schema: {name} = "?" is still open: replace "?" with the name of a column')
            if not ((isinstance(value, str) and value) or (optional and value is None)):
                raise ConfigError(f"schema: expected {name} to be the name of a column, got {value!r}")
        if self.candidates is not None and (self.mask is not None or self.actions is None):
            raise ConfigError(
                "schema: expected candidates or mask, got both, but they mean the same"
                if self.mask is not None
                else 'schema: candidates requires the names of all actions: actions = ["...", ...]'
            )
        if self.ends not in ENDS:
            raise ConfigError(f'schema: expected ends = "terminated" or "truncated", got {self.ends!r}')
        observed: Any = self.observation
        if not isinstance(observed, dict):
            raise ConfigError(
                f'schema: expected a table [observation] of columns and kinds, such as age = "number", got {observed!r:.80}'
            )
        length: Any = self.text_length
        if not (isinstance(length, int) and not isinstance(length, bool) and 1 <= length <= LONGEST_TEXT):
            raise ConfigError(f"schema: expected text_length from 1 to {LONGEST_TEXT}, got {length!r}")
        most: Any = self.most_entities
        if not (isinstance(most, int) and not isinstance(most, bool) and most >= 1):
            raise ConfigError(f"schema: expected most_entities of at least 1, got {most!r}")
        for column, kind in self.observation.items():
            if kind not in KINDS:
                hint = nearest(str(kind), KINDS)
                raise ConfigError(
                    f"schema: expected observation {column!r} to be one of {', '.join(KINDS)}, got {kind!r}{hint}"
                )
        for name in ("mask",) if several else ("mask", "actions"):
            value = getattr(self, name)
            texts = isinstance(value, tuple) and value and all(isinstance(part, str) and part for part in value)
            if not (value is None or texts or (name == "mask" and isinstance(value, str) and value)):
                raise ConfigError(f"schema: expected {name} to be a list of texts, got {value!r}")
            if isinstance(value, tuple) and len(set(value)) < len(value):
                raise ConfigError(f"schema: {name} names something twice: {list(value)}")
        self._require_one_role_each()
        # The order column may be observed too; columns that are known only after the action may not.
        for name in ("reward", "terminated", "truncated", "behaviour_probability"):
            if getattr(self, name) in self.observation:
                raise ConfigError(
                    f"schema: column {getattr(self, name)!r} is both {name} and an observation, but it is known only "
                    "after the action: remove it from [observation]"
                )
        for column in self.action_columns:
            if column in self.observation:
                raise ConfigError(
                    f"schema: column {column!r} is both the action and an observation: remove it from [observation]; "
                    "the network always gets the previous action"
                )

    def _check_several(self, columns: tuple[Any, ...]) -> None:
        """Raises ConfigError: what is said of several action columns does not fit together."""
        if len(columns) < 2 or not all(isinstance(column, str) and column for column in columns):
            raise ConfigError(
                f"schema: expected action to be the name of a column, or a list of at least two, got {list(columns)!r}"
            )
        if len(set(columns)) < len(columns):
            raise ConfigError(f"schema: action names a column twice: {list(columns)}")
        if self.candidates is not None:
            raise ConfigError("schema: candidates is for a single action column; give a mask column for each instead")
        count = len(columns)
        if self.mask is not None and (not isinstance(self.mask, tuple) or len(self.mask) != count):
            raise ConfigError(
                f"schema: expected mask to be a list of {count} columns, one for each of {list(columns)}, each of which "
                f"holds a list of yes/no values; got {self.mask!r}"
            )
        given: Any = self.actions
        if given is None:
            return
        if not isinstance(given, tuple) or len(given) != count or not all(map(_distinct_texts, given)):
            raise ConfigError(
                f"schema: expected actions to be {count} lists of different texts, one for each of {list(columns)}, got "
                f"{given!r:.200}"
            )

    def _require_one_role_each(self) -> None:
        """Raise ConfigError if one column has two roles, for example action and reward."""
        roles: list[tuple[str, str]] = []
        for name in SINGLE:
            columns = self.action_columns if name == "action" else (getattr(self, name),)
            roles += [(name, column) for column in columns if column is not None]
        roles += [("mask", column) for column in ([self.mask] if isinstance(self.mask, str) else self.mask or ())]
        seen: dict[str, str] = {}
        for role, column in roles:
            if column in seen:
                raise ConfigError(
                    f"schema: column {column!r} is both {seen[column]} and {role}: expected another column for one of them"
                    + (", or no order: rows then keep the order of the file" if "order" in (role, seen[column]) else "")
                )
            seen[column] = role

    @property
    def action_columns(self) -> tuple[str, ...]:
        """The columns of the M action dimensions."""
        return self.action if isinstance(self.action, tuple) else (self.action,)

    @property
    def names(self) -> tuple[tuple[str, ...], ...] | None:
        """`actions` by dimension."""
        if self.actions is None:
            return None
        return self.actions if isinstance(self.action, tuple) else (self.actions,)

    @property
    def columns(self) -> list[str]:
        """Return every column that is read, each once."""
        single: list[Any] = []
        for name in SINGLE:
            single += self.action_columns if name == "action" else [getattr(self, name)]
        mask = [self.mask] if isinstance(self.mask, str) else list(self.mask or ())
        return list(dict.fromkeys([name for name in (*single, *mask, *self.observation) if name is not None]))

    @property
    def masked(self) -> bool:
        """Whether the table has action masks or candidates."""
        return self.mask is not None or self.candidates is not None

    def of_kind(self, kind: str) -> list[str]:
        """Return the observation columns of one kind, in the order of the schema."""
        return [column for column, its in self.observation.items() if its == kind]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without fields that are not set."""
        found: dict[str, Any] = {name: getattr(self, name) for name in SINGLE if getattr(self, name) is not None}
        found["action"] = list(self.action) if isinstance(self.action, tuple) else self.action
        if self.mask is not None:
            found["mask"] = self.mask if isinstance(self.mask, str) else list(self.mask)
        if self.actions is not None:
            found["actions"] = [list(one) if isinstance(one, tuple) else one for one in self.actions]
        if self.text_length != TEXT_LENGTH:  # the default is omitted, so that older schemas stay the same
            found["text_length"] = self.text_length
        if self.most_entities != ENTITIES:
            found["most_entities"] = self.most_entities
        return {**found, "ends": self.ends, "observation": dict(self.observation)}

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str = "schema") -> Schema:
        """Make a schema from the result of `to_json`.

        Raises:
            ConfigError: a key is unknown (the message names the most similar one) or missing, or a value is wrong.
        """
        known = (*SINGLE, "mask", "actions", "ends", "text_length", "most_entities", "observation")
        for name in data:
            if name not in known:
                hint = nearest(name, known)
                raise ConfigError(f"{where}: unknown key {name!r}{hint}; known: {', '.join(known)}")
        for name in REQUIRED:
            if name not in data:
                raise ConfigError(f"{where}: expected {', '.join(REQUIRED)}, but {name} is missing")
        values: dict[str, Any] = {
            name: _as_tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**values)

    @classmethod
    def load(cls, path: Path) -> Schema:
        """Read a TOML file.

        Raises:
            ConfigError: the file cannot be read, is not TOML, or is not a valid schema (see `from_json`).
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{path}: expected a schema as TOML, but it cannot be read: {reason}") from error
        return cls.from_json(data, str(path))

    def to_toml(self) -> str:
        """Return the schema as TOML that `load` can read."""
        import tomli_w

        return tomli_w.dumps(self.to_json())

    @property
    def digest(self) -> str:
        """Return a hash of the schema."""
        from hashlib import sha256

        return sha256(json.dumps(self.to_json(), ensure_ascii=False).encode()).hexdigest()


REQUIRED = ("session", "action", "reward")
SINGLE = ("session", "order", "action", "reward", "terminated", "truncated", "behaviour_probability", "candidates")


def _as_tuple(value: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(part) if isinstance(part, list) else part for part in value)


def _distinct_texts(value: Any) -> bool:
    texts = isinstance(value, tuple) and bool(value) and all(isinstance(part, str) and part for part in value)
    return texts and len(set(value)) == len(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" if a known name is similar, else an empty text."""
    lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[near[0]]!r}?" if near else ""
