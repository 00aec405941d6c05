"""`seqel review FILE`: decide what an agent abstained from; `seqel review export FILE`: make training data of it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from seqel.cli.arguments import Json
from seqel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.safety.review import Case, ReviewQueue

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Show the cases that an agent abstained from, record a person's decisions, and export them as training data."

EXAMPLES = """
`seqel serve --review FILE` and `seqel evaluate --review FILE` write the queue. In the terminal, each open case is shown with
its history. Type the name of an action, or an empty line to skip the case; Ctrl-D ends the review. Decisions are appended to
the file. `export` writes one row per step, with the person's action at reviewed steps, and a schema beside it (.toml).

examples:
  seqel review queue.jsonl
  seqel review list queue.jsonl --json
  seqel review queue.jsonl --case 3 --action refund --by anna
  seqel review export queue.jsonl --out reviewed.jsonl
  seqel train --data reviewed.jsonl --schema reviewed.toml --preset behaviour-cloning
"""

LAST = 6  # steps of the history that are shown
DOING = ("decide", "list", "export")


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel review`."""

    words: Annotated[
        tuple[str, ...],
        Positional,
        arg(metavar="[list|export] FILE", help="list: show open cases; export: write reviewed sessions; FILE: the queue",
            help_behavior_hint=""),
    ]  # fmt: skip
    case: Annotated[
        int | None, arg(metavar="N", help="decide this case without asking", help_behavior_hint="", constructor=int)
    ] = None
    action: Annotated[
        tuple[str, ...],
        arg(metavar="ACTION", help="with --case: the action, one for each dimension", help_behavior_hint=""),
    ] = ()
    by: Annotated[
        str | None, arg(metavar="NAME", help="who decides (the user's name)", help_behavior_hint="", constructor=str)
    ] = None
    out: Annotated[Path | None, arg(metavar="TABLE", help="with export: the table to write", help_behavior_hint="")] = (
        None
    )
    reward: Annotated[float, arg(metavar="R", help="with export: reward of steps at which it is not known")] = 0.0
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Decide, list or export. Returns counts, and the cases for `list`."""
    from seqel.safety.review import default_name, read_review_queue

    words = arguments.words
    what, file = ("decide", words[0]) if len(words) == 1 else (words[0], words[1]) if len(words) == 2 else ("", "")
    if what not in DOING:
        raise ConfigError(f"expected FILE, list FILE or export FILE, got {' '.join(words)!r:.80}")
    queue = read_review_queue(Path(file))
    if queue.skipped:
        output.note(f"note: {queue.skipped} lines could not be read and are left out")
    by = default_name() if arguments.by is None else arguments.by
    if what == "export":
        return _export(queue, arguments, output)
    if what == "list":
        for case in queue.open:
            _show(queue, case, output)
        found = [{"case": case.number, "review": case.review, "steps": case.steps} for case in queue.cases]
        return _counts(queue, output) | {"cases": found}
    if arguments.case is not None:
        if not arguments.action:
            raise ConfigError("--case: expected --action ACTION with it")
        queue.decide(queue.case(arguments.case), _given(arguments.action), by)
    elif arguments.action:
        raise ConfigError("--action: expected --case N with it")
    else:
        _ask_all(queue, by, output)
    return _counts(queue, output)


def _ask_all(queue: ReviewQueue, by: str, output: Output) -> None:
    for case in queue.open:
        _show(queue, case, output)
        while True:
            print(f"case {case.number}, action> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                return
            if not line.strip():
                break
            try:
                queue.decide(case, _given(tuple(one.strip() for one in line.split(","))), by)
                break
            except ConfigError as error:
                print(f"{error}", file=sys.stderr)


def _given(action: tuple[str, ...]) -> Any:
    return action[0] if len(action) == 1 else list(action)


def _show(queue: ReviewQueue, case: Case, output: Output) -> None:
    from rich.text import Text

    step = case.step
    output.show("", Text(f"case {case.number}: session {step['session']}, step {step['step']}", style="bold"))
    earlier = len(case.steps) - 1 - LAST
    if earlier > 0:
        output.show(Text(f"  ... {earlier} earlier steps"))
    for one, following in list(zip(case.steps, case.steps[1:], strict=False))[-LAST:]:
        output.show(
            Text(f"  {_short(one['observation'])} -> {following['previous_action']}, reward {following['reward']}")
        )
    output.show(Text(f"  {_short(step['observation'])} -> ?"))
    best = ", ".join(f"{name} {score:.3g}" for name, score in step.get("best") or [])
    output.show(Text(f"  the agent would take {step['action']}" + (f" (scores: {best})" if best else "")))
    names = queue.actions_of(case)
    output.show(Text("  actions: " + "; ".join(", ".join(one[:30]) for one in names), style="dim"))


def _short(observation: Any) -> str:
    text = json.dumps(observation, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."


def _counts(queue: ReviewQueue, output: Output) -> dict[str, Any]:
    decided = len(queue.cases) - len(queue.open)
    output.show(f"{len(queue.cases):,} cases, {decided:,} decided")
    return {"file": str(queue.path), "all": len(queue.cases), "decided": decided, "skipped": queue.skipped}


def _export(queue: ReviewQueue, arguments: Arguments, output: Output) -> dict[str, Any]:
    from seqel.datasets.schema import Schema
    from seqel.storage import atomic_write

    out = arguments.out
    if out is None or out.suffix != ".jsonl":
        raise ConfigError(f"export: expected --out FILE.jsonl, got {out}")
    sessions = queue.export(arguments.reward)
    if not sessions:
        raise DataError(f"{queue.path}: no case is decided yet, so there is nothing to export")
    schemas = [one["schema"] for one in queue.agents.values()]
    names = [one["actions"] for one in queue.agents.values()]
    if any(one != schemas[0] for one in schemas) or any(one != names[0] for one in names):
        raise DataError(f"{queue.path}: expected agents with the same table and actions, got several")
    if schemas[0] is None:
        described, rows = _described(sessions, names[0]), _flat_rows(sessions)
    else:
        described, rows = _of_table(schemas[0], sessions, names[0])
    atomic_write(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    atomic_write(out.with_suffix(".toml"), Schema.from_json(described).to_toml())
    output.show(f"written: {out} ({len(sessions):,} sessions, {len(rows):,} steps) and {out.with_suffix('.toml')}")
    output.note(f"next: seqel data check {out} --schema {out.with_suffix('.toml')}")
    return {"file": str(out), "sessions": len(sessions), "steps": len(rows)}


def _of_table(
    schema: dict[str, Any], sessions: Any, names: list[list[str]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return rows with the columns of the agent's own table, and its schema, without columns that a queue does not have."""
    order = schema.get("order") or "step"
    order = f"{order}_of_session" if order in schema["observation"] else order
    dropped = ("terminated", "truncated", "behaviour_probability", "mask", "candidates")
    described = {name: value for name, value in schema.items() if name not in dropped}
    single = isinstance(schema["action"], str)
    described |= {"order": order, "ends": "terminated", "actions": names[0] if single else names}
    columns = [schema["action"]] if single else schema["action"]
    rows = []
    for one in sessions:
        for step, (observation, action, reward) in enumerate(one.steps):
            seen = {name: (observation or {}).get(name) for name in schema["observation"]}
            taken = dict(zip(columns, [action] if single else action, strict=True))
            rows.append({schema["session"]: one.name, order: step} | seen | taken | {schema["reward"]: reward})
    return described, rows


def _leaves(observation: Any) -> dict[str, Any]:
    """Return the columns of an environment's observation: numbers, flat lists of numbers, and texts."""
    given = observation if isinstance(observation, dict) else {"observation": observation}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": one for inner, one in _leaves(value).items()}
        else:
            found[name] = _flat(value) if isinstance(value, list) else value
    return found


def _flat(value: Any) -> list[Any]:
    return [inner for one in value for inner in _flat(one)] if isinstance(value, list) else [value]


def _described(sessions: Any, names: list[list[str]]) -> dict[str, Any]:
    first = _leaves(sessions[0].steps[0][0])
    kinds = {
        name: "vector" if isinstance(value, list) else "text" if isinstance(value, str) else "number"
        for name, value in first.items()
    }
    several = len(names) > 1
    return {
        "session": "session", "order": "step", "reward": "reward", "ends": "terminated", "observation": kinds,
        "action": [f"action{number}" for number in range(len(names))] if several else "action",
        "actions": names if several else names[0],
    }  # fmt: skip


def _flat_rows(sessions: Any) -> list[dict[str, Any]]:
    rows = []
    for one in sessions:
        for step, (observation, action, reward) in enumerate(one.steps):
            taken = (
                {f"action{n}": part for n, part in enumerate(action)}
                if isinstance(action, list)
                else {"action": action}
            )
            rows.append({"session": one.name, "step": step} | _leaves(observation) | taken | {"reward": reward})
    return rows
