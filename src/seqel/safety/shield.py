"""Shields: rules that veto actions before one is chosen, as a function of the history.

Source: Alshiekh et al. 2018, "Safe Reinforcement Learning via Shielding" (arXiv:1708.08611), the preemptive shield, which
gives the agent the set of safe actions at each step. Differs: the shield is written as rules over counts of past events
and the current observation, not synthesised from a temporal logic formula and a model of the environment. It therefore
guarantees that no vetoed action is taken, but not that the consequences of allowed actions are safe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError
from seqel.safety.conditions import EVENTS, NEVER, Compiler, Condition, Event, Moment, whole
from seqel.safety.fields import Fields, Part, unknown
from seqel.spaces import ActionSpec

__all__ = ["Rule", "Shield", "read_rules"]

RULE_KEYS = ("name", "never", "at_most", "when", "unless")
LIMIT = 1 << 20  # bytes of a file of rules


@dataclass(frozen=True, slots=True)
class Rule:
    """Actions that are vetoed at a step where all conditions hold; without conditions, at every step."""

    name: str
    parts: tuple[Part, ...]
    conditions: tuple[Condition, ...]


class Shield:
    """Rules, compiled for an observation and an action space. Use `Shield.compile`.

    Its state is an array (R, K), one row per history: a function of the history alone, computed step by step with `read`.
    """

    def __init__(
        self, text: str, action: ActionSpec, rules: tuple[Rule, ...], events: tuple[Event, ...], fallback: list[Any]
    ) -> None:
        self.text = text  # TOML, as it was written
        self.action_spec, self.rules, self.events, self.fallback = action, rules, events, fallback
        self.width = EVENTS + 2 * len(events)

    def __repr__(self) -> str:
        return (
            f"Shield({len(self.rules)} rules: {', '.join(rule.name for rule in self.rules)}; fallback {self.fallback})"
        )

    @classmethod
    def compile(cls, text: str, fields: Fields) -> Shield:
        """Compile the rules in a TOML text; docs/safety.md describes the language.

        Raises ConfigError: it is no TOML, a rule names something unknown, or a rule could veto the fallback, so that some
        step might have no allowed action.
        """
        try:
            return cls._compile(tomllib.loads(text), text, fields)
        except ConfigError:
            raise
        except ValueError as error:  # of tomllib, also for numbers with thousands of digits
            raise ConfigError(f"shield: expected TOML, but {error}") from error
        except RecursionError as error:
            raise ConfigError("shield: expected conditions with less nesting") from error

    @classmethod
    def _compile(cls, found: dict[str, Any], text: str, fields: Fields) -> Shield:
        for name in found:
            if name not in ("fallback", "rule"):
                raise ConfigError(f"shield: {unknown('key', name, ('fallback', 'rule'))}")
        tables = found.get("rule")
        if not isinstance(tables, list) or not tables:
            raise ConfigError("shield: expected at least one [[rule]], got none")
        if "fallback" not in found:
            raise ConfigError(
                "shield: expected fallback = ACTION, the safe action that no rule vetoes: without it, the rules together "
                "could veto every action"
            )
        fallback = _fallback(found["fallback"], fields)
        compiler = Compiler(fields)
        rules: list[Rule] = []
        for number, table in enumerate(tables):
            rules.append(_rule(table, number, compiler, fallback))
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"shield: expected each rule to have a name of its own, got {twice} more than once")
        return cls(text, fields.action, tuple(rules), tuple(compiler.events), fields.names_of(fallback))

    def initial(self, rows: int) -> NDArray[np.float64]:
        """Return the state of R histories without a step, (R, K)."""
        state = np.zeros((rows, self.width))
        state[:, 0] = -1.0
        state[:, EVENTS + 1 :: 2] = NEVER
        return state

    def read(
        self,
        state: NDArray[np.float64],
        observation: Mapping[str, NDArray[Any]],
        *,
        previous_action: NDArray[np.int64],
        reward: NDArray[np.floating],
        first: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Add a step to R histories. -> the new state (R, K), and which actions the rules allow now, (R, M, A).

        observation: flat leaves (R, *shape). previous_action (R, M), counted from 0, and its reward (R,); they are ignored
        where `first`, where a history begins. The given state is not changed.
        """
        rows = len(first)
        new = np.where(first[:, None], self.initial(1), state)
        before = ~first
        earned = np.where(first, 0.0, reward).astype(np.float64)
        new[:, 0] += 1.0
        new[:, 1] = earned
        new[:, 2] += earned
        for number, event in enumerate(self.events):
            if event.parts:
                happened = before & _taken(previous_action, event.parts)
                self._happened(new, number, happened, new[:, 0] - 1.0)
        for number, event in enumerate(self.events):
            if event.seen is not None:
                self._happened(new, number, event.seen(Moment(observation, new)), new[:, 0])
        allowed = np.repeat(self.action_spec.available[None], rows, axis=0)
        moment = Moment(observation, new)
        for rule, vetoed in self._vetoes(moment, rows):
            for part in rule.parts:
                allowed[vetoed, part.dimension, part.code] = False
        return new, allowed

    def read_history(
        self,
        state: NDArray[np.float64],
        observation: Mapping[str, NDArray[Any]],
        *,
        previous_action: NDArray[np.int64],
        reward: NDArray[np.floating],
        first: bool,
    ) -> NDArray[np.float64]:
        """Add T steps, at least one, to one history. -> the new state (K,), bit-equal to that after T calls of `read`.

        state (K,); observation: flat leaves (T, *shape); previous_action (T, M), reward (T,). first: whether the history
        begins with the first of these steps. There is no loop over steps: whether an event happens at a step depends on the
        observation and on the first three columns of the state, never on how often other events happened.
        """
        new: NDArray[np.float64] = (self.initial(1)[0] if first else state).copy()
        earned = reward.astype(np.float64)
        before = np.ones(len(earned), bool)
        if first:
            earned[0], before[0] = 0.0, False
        past = np.repeat(new[None], len(earned), axis=0)
        past[:, 0] += np.arange(1, len(earned) + 1)
        past[:, 1] = earned
        past[:, 2] = np.add.accumulate(np.concatenate([new[2:3], earned]))[1:]  # adds in the order of the steps
        new[:EVENTS] = past[-1, :EVENTS]
        moment = Moment(observation, past)
        for number, event in enumerate(self.events):
            if event.seen is None:
                happened, step = before & _taken(previous_action, event.parts), past[:, 0] - 1.0
            else:
                happened, step = event.seen(moment), past[:, 0]
            column = EVENTS + 2 * number
            new[column] += np.count_nonzero(happened)
            if happened.any():
                new[column + 1] = step[happened][-1]
        return new

    def vetoes(self, observation: Mapping[str, NDArray[Any]], state: NDArray[np.float64]) -> list[list[str]]:
        """Return the names of the rules that veto something, for each of R rows; `state` is that after `read`."""
        found: list[list[str]] = [[] for _ in range(len(state))]
        for rule, vetoed in self._vetoes(Moment(observation, state), len(state)):
            for row in np.flatnonzero(vetoed):
                found[row].append(rule.name)
        return found

    def combine(self, mask: NDArray[np.bool_] | None, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the mask (R, M, A) of what both a mask and the rules allow; mask None: the rules alone decide.

        Raises SpaceError if nothing is left in some row: the mask forbids the fallback where the rules veto all else.
        """
        both = allowed if mask is None else mask & allowed
        none = ~both.any(axis=-1)
        if none.any():
            raise SpaceError(
                f"shield: rows {np.unique(np.nonzero(none)[0]).tolist()!s:.80} have no action that both the mask and the "
                f"rules allow: the fallback {self.fallback} must stay allowed by the mask"
            )
        return both

    def combine_candidates(
        self, candidates: NDArray[np.int64], real: NDArray[np.bool_], allowed: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which candidates (R, C) may be chosen, (R, 1, C): those that are no padding and not vetoed.

        Raises SpaceError if a row has none: offer the fallback as a candidate.
        """
        kept: NDArray[np.bool_] = real & np.take_along_axis(allowed[:, 0], candidates, axis=1)[:, None]
        none = ~kept[:, 0].any(axis=-1)
        if none.any():
            raise SpaceError(
                f"shield: rows {np.flatnonzero(none).tolist()!s:.80} have no candidate that the rules allow: the fallback "
                f"{self.fallback} must be among the candidates"
            )
        return kept

    def _vetoes(self, moment: Moment, rows: int) -> list[tuple[Rule, NDArray[np.bool_]]]:
        found = []
        for rule in self.rules:
            vetoed = np.ones(rows, bool)
            for condition in rule.conditions:
                vetoed &= condition(moment)
            found.append((rule, vetoed))
        return found

    @staticmethod
    def _happened(
        state: NDArray[np.float64], event: int, happened: NDArray[np.bool_], step: NDArray[np.float64]
    ) -> None:
        column = EVENTS + 2 * event
        state[:, column] += happened
        state[happened, column + 1] = step[happened]


def read_rules(path: str | Path) -> str:
    """Return the text of a file of rules. Raises ConfigError if it cannot be read."""
    try:
        data = Path(path).read_bytes()
        if len(data) > LIMIT:
            raise ConfigError(f"shield: expected at most {LIMIT:,} bytes, got {len(data):,} in {path}")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"shield: expected a TOML file of rules, but {path}: {error}") from error


def _fallback(given: Any, fields: Fields) -> tuple[Part, ...]:
    if isinstance(given, list):
        raise ConfigError(f"shield: expected one action as the fallback, got {given!r:.80}")
    parts = fields.parts(given, "shield: fallback")
    if sorted(part.dimension for part in parts) != list(range(fields.action.dims)):
        raise ConfigError(
            f"shield: fallback: expected one action for each dimension ({', '.join(fields.dimensions)}), got {given!r:.80}"
        )
    return parts


def _rule(table: Any, number: int, compiler: Compiler, fallback: tuple[Part, ...]) -> Rule:
    where = f"shield: rule {number + 1}"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table, got {table!r:.80}")
    name = table.get("name", f"rule {number + 1}")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: expected a text as its name, got {name!r:.80}")
    where = f"shield: rule {name!r}"
    for key in table:
        if key not in RULE_KEYS:
            raise ConfigError(f"{where}: {unknown('key', key, RULE_KEYS)}")
    if "never" not in table:
        raise ConfigError(f"{where}: expected never = ACTION, or a list of actions")
    parts = compiler.fields.parts(table["never"], f"{where}: never")
    safe = set(parts) & set(fallback)
    if safe:
        raise ConfigError(
            f"{where}: vetoes the fallback {compiler.fields.names_of(tuple(safe))}, so all actions of a step could be "
            "vetoed: choose another fallback, or other actions"
        )
    conditions: list[Condition] = []
    if "at_most" in table:
        most = whole(table["at_most"], f"{where}: at_most", 0)
        count, _ = compiler.count(Event(parts=parts))
        conditions.append(lambda moment: moment.state[:, count] >= most)
    if "when" in table:
        conditions.append(compiler.condition(table["when"], f"{where}: when"))
    if "unless" in table:
        met = compiler.condition(table["unless"], f"{where}: unless")
        conditions.append(lambda moment: ~met(moment))
    return Rule(name, parts, tuple(conditions))


def _taken(previous: NDArray[np.int64], parts: tuple[Part, ...]) -> NDArray[np.bool_]:
    found = np.zeros(len(previous), bool)
    for part in parts:
        found |= previous[:, part.dimension] == part.code
    return found
