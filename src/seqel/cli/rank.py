"""`seqel rank`: the best items of a catalogue for one history, or for each line of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import Json
from seqel.errors import ConfigError, DataError, SeqelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqel.agents.agent import Agent
    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Rank the items of a catalogue for users, from the items that they chose before."

EXAMPLES = """
RUN was trained on a table with one row per interaction, where the action is the item. Items have the names of that table.
Give a history item by item, oldest first, or in a file with one line of JSON per user:

  {"user": "anna", "items": ["Toy Story", "GoldenEye"], "ratings": [5, 3], "candidates": ["Heat", "Alien"]}

Only "items" is required. Items of the history are not ranked again, unless --include-seen.

examples:
  seqel rank runs/films --item "Toy Story" --item GoldenEye --k 10
  seqel rank runs/films --item "Toy Story" --item GoldenEye --why
  seqel rank runs/films --history users.jsonl --json > lists.json
"""

REASONS = 3  # items of the history that are named with --why


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel rank`."""

    run: Annotated[Positional[Path], arg(metavar="RUN", help="the folder of a run, or of an agent")]
    item: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="ITEM", help="an item of the history (repeatable)", help_behavior_hint=""),
    ] = ()
    history: Annotated[Path | None, arg(metavar="FILE", help="histories, as JSON lines", help_behavior_hint="")] = None
    k: Annotated[int, arg(metavar="K", help="items per list")] = 20
    length: Annotated[int, arg(metavar="N", help="read only the latest N items of a history")] = 200
    why: Annotated[bool, arg(help="show which items of the history raised each score most")] = False
    approximate: Annotated[
        bool, arg(help="search an index instead of scoring every item, for large catalogues (extra: ranking)")
    ] = False
    include_seen: Annotated[bool, arg(help="also rank the items of the history")] = False
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Show a list per history. Returns {"lists": [{"user", "items", "scores"}, ...]}."""
    from rich.table import Table
    from rich.text import Text

    from seqel.agents.agent import Agent

    if arguments.history is not None and arguments.item:
        raise ConfigError("expected --item or --history, got both")
    agent = Agent.load(arguments.run)
    lists = []
    for user, given in _histories(arguments):
        items, scores = _ranked(agent, given, arguments, user)
        lists.append({"user": user, "items": items, "scores": [round(float(score), 4) for score in scores]})
        reasons = _reasons(agent, given, items, arguments) if arguments.why else []
        if arguments.why:
            lists[-1]["because"] = [[{"item": one, "raised": by} for one, by in some] for some in reasons]
        table = Table(box=None, header_style="bold", pad_edge=False, show_header=bool(user) or arguments.why)
        table.add_column("", justify="right")
        table.add_column(Text(user), overflow="fold")
        table.add_column("score", justify="right")
        if arguments.why:
            table.add_column("because of", overflow="fold")
        for place, (item, score) in enumerate(zip(items, scores, strict=True)):
            why = [Text(", ".join(f"{one} {by:+.2f}" for one, by in reasons[place]))] if arguments.why else []
            table.add_row(str(place + 1), Text(str(item)), f"{score:.3f}", *why)
        output.show(table if items else Text(f"{user or 'this history'}: no item is left"))
    return {"lists": lists}


def _reasons(
    agent: Agent, given: dict[str, Any], items: list[Any], arguments: Arguments
) -> list[list[tuple[str, float]]]:
    """Return, for each item, those of the history that raised its score most, and by how much."""
    history, found = given["items"], []
    raised = agent.rank_influence(history, items, rewards=given.get("ratings"), length=arguments.length)
    for row in raised:
        best = sorted(range(len(history)), key=lambda place: -row[place])[:REASONS]
        found.append([(str(history[place]), round(float(row[place]), 4)) for place in best if row[place] > 0.0])
    return found


def _histories(arguments: Arguments) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the user and the line of each history."""
    if arguments.history is None:
        yield "", {"items": list(arguments.item)}
        return
    from seqel.datasets.json_lines import json_lines

    for where, text, line in json_lines([arguments.history], 'an object with "items"'):
        if not isinstance(line, dict) or not isinstance(line.get("items"), list):
            raise DataError(f'{where}: expected an object with "items", a list of items, got {text!r:.120}')
        for name in ("ratings", "candidates"):
            if not isinstance(line.get(name, []), list):
                raise DataError(f"{where}: expected {name!r} to be a list, got {line[name]!r:.120}")
        yield str(line.get("user", where.rpartition(", ")[2])), line


def _ranked(agent: Agent, given: dict[str, Any], arguments: Arguments, user: str) -> tuple[list[Any], Any]:
    try:
        return agent.rank(
            given["items"], arguments.k, rewards=given.get("ratings"), exclude_seen=not arguments.include_seen,
            candidates=given.get("candidates"), length=arguments.length, approximate=arguments.approximate,
        )  # fmt: skip
    except (SeqelError, ValueError, TypeError) as error:
        if not user:
            raise
        raise DataError(f"{arguments.history}, {user}: {error}") from error
