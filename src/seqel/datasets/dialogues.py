"""Turns recorded dialogues into a table of sessions: one row per decision of the agent.

A dialogue is a line of JSON:

    {"id": "a17", "outcome": "resolved", "turns": [
        {"role": "customer", "text": "I lost my card"},
        {"role": "agent", "action": "ask", "text": "Where did you last use it?"},
        {"role": "customer", "text": "In Rome"},
        {"role": "agent", "action": "answer: card lost", "reward": -0.1}]}

A row has what the customer said since the agent's last turn, the action that the agent took, and its reward: that of the
turn, if it has one; the last row has the outcome's in addition. What is said after the agent's last turn is not needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqel.datasets.json_lines import json_lines
from seqel.datasets.schema import Schema
from seqel.errors import DataError
from seqel.storage import atomic_write

__all__ = ["AGENT", "CUSTOMER", "DIALOGUES", "Converted", "convert_dialogues", "rows_of"]

CUSTOMER, AGENT = "customer", "agent"
NAMED = 8  # outcomes without a reward that an error names
# the columns of the table
DIALOGUES = Schema("dialogue", "action", "reward", {"said": "text"}, order="turn", text_length=256)


@dataclass(frozen=True, slots=True)
class Converted:
    """What was found in the files."""

    dialogues: int  # that have a decision
    rows: int
    without_decision: int  # dialogues that were left out, because no turn has an action
    actions: dict[str, int]  # how often each was taken, the most frequent first
    outcomes: dict[str, int]  # how many dialogues have each outcome that has a name
    without_outcome: int  # dialogues with a decision whose outcome is not known: it counts as 0


def convert_dialogues(
    files: Sequence[str | Path], out: str | Path, outcomes: Mapping[str, float] | None = None
) -> Converted:
    """Write the table of these dialogues as JSON lines, and next to it, with the suffix .toml, its schema.

    outcomes: the reward of each outcome that has a name. An outcome that is a number is its own reward.

    Raises DataError, which names the line, if one is no dialogue or an identifier occurs twice, and if no dialogue has a
    decision, or outcomes with a name lack a reward. StorageError: the table cannot be written.
    """
    worth, unknown = dict(outcomes or {}), dict[str, str]()  # and where an outcome without a reward occurs first
    seen: set[str] = set()
    actions: dict[str, int] = {}
    named: dict[str, int] = {}
    lines: list[str] = []
    dialogues = without = open_ = 0
    for where, dialogue in _read(files):
        outcome = dialogue.get("outcome")
        new = [outcome] if isinstance(outcome, str) and outcome not in worth else []
        rows = rows_of(dialogue, where, worth | dict.fromkeys(new, 0.0))
        if not rows:
            without += 1
            continue
        for one in new:
            unknown.setdefault(one, where)  # all of them are named at once, at the end
        name = rows[0]["dialogue"]
        if name in seen:
            raise DataError(f"{where}: expected an identifier that no other dialogue has, got {name!r:.80} again")
        seen.add(name)
        dialogues += 1
        if isinstance(outcome, str):
            named[outcome] = named.get(outcome, 0) + 1
        open_ += outcome is None
        for row in rows:
            actions[row["action"]] = actions.get(row["action"], 0) + 1
        lines += [json.dumps(row, ensure_ascii=False) for row in rows]
    if unknown:
        more = ", ".join(f"{name!r:.80} ({where})" for name, where in list(unknown.items())[:NAMED])
        raise DataError(
            f"outcome: expected the reward of each outcome that has a name (--outcome NAME=REWARD), got none for {more}"
            + (f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "")
        )
    if not lines:
        raise DataError(f"expected at least one dialogue in which a turn of the {AGENT} has an action, got none")
    # escapes of JSON can hold lone surrogates, which no file can
    atomic_write(Path(out), ("\n".join(lines) + "\n").encode("utf-8", "replace"))
    atomic_write(Path(out).with_suffix(".toml"), DIALOGUES.to_toml())
    return Converted(
        dialogues, len(lines), without, dict(sorted(actions.items(), key=lambda one: (-one[1], one[0]))), named, open_
    )


def rows_of(dialogue: Mapping[str, Any], where: str, outcomes: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the rows of a dialogue, one per turn of the agent with an action.

    where: what errors call it. Raises DataError.
    """
    turns, name = dialogue.get("turns"), dialogue.get("id", where)
    if not isinstance(turns, list) or isinstance(name, bool) or not isinstance(name, str | int):
        raise DataError(f'{where}: expected {{"id": "...", "turns": [...]}}, got {dict(dialogue)!r:.80}')
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    for number, turn in enumerate(turns, 1):
        place = f"{where}, turn {number}"
        if not isinstance(turn, dict) or turn.get("role") not in (CUSTOMER, AGENT):
            raise DataError(f'{place}: expected a turn with the role "{CUSTOMER}" or "{AGENT}", got {turn!r:.80}')
        if not isinstance(turn.get("text", ""), str):
            raise DataError(f"{place}: text: expected a text, got {turn['text']!r:.80}")
        if turn["role"] == CUSTOMER:
            said.append(turn.get("text", ""))
        elif turn.get("action") is not None:
            if not isinstance(turn["action"], str) or not turn["action"]:
                raise DataError(f"{place}: action: expected a name, got {turn['action']!r:.80}")
            reward = _number(turn.get("reward", 0.0), f"{place}: reward")
            rows.append(
                {
                    "dialogue": str(name),
                    "turn": number,
                    "said": "\n".join(said),
                    "action": turn["action"],
                    "reward": reward,
                }
            )
            said = []
    if rows:
        outcome = dialogue.get("outcome")
        rows[-1]["reward"] += _worth(0.0 if outcome is None else outcome, where, outcomes)
    return rows


def _worth(outcome: Any, where: str, outcomes: Mapping[str, float]) -> float:
    if not isinstance(outcome, str):
        return _number(outcome, f"{where}: outcome")
    if outcome not in outcomes:
        known = ", ".join(sorted(outcomes)) or "none was given"
        raise DataError(
            f"{where}: outcome: expected a number, or an outcome whose reward is known ({known}), got {outcome!r:.80}"
        )
    return outcomes[outcome]


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{what}: expected a finite number, got {value!r:.80}")
    return float(value)


def _read(files: Sequence[str | Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each dialogue is, and the dialogue."""
    for where, line, found in json_lines(files, "a dialogue as JSON"):
        if not isinstance(found, dict):
            raise DataError(f"{where}: expected a dialogue as a JSON object, got {line!r:.80}")
        yield where, found
