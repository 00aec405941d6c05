"""`seqel data check FILE`: what a table of recorded sessions contains, and what an agent would be trained on.

`seqel data dialogues FILE` makes such a table of recorded dialogues (`seqel.cli.dialogues`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import Json

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqel.cli.output import Output
    from seqel.datasets.dataset import Dataset
    from seqel.errors import ConfigError

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "Check a table of recorded sessions and show what an agent would be trained on, or make a table from dialogues."
)

EXAMPLES = """
Without --schema, `check` proposes a schema from the columns' names and types, and uses it. The table is imported into a
folder .seqel next to the first file, and the next command that reads it starts quickly.

examples:
  seqel data check sessions.parquet --write schema.toml   propose a schema, for you to correct
  seqel data check log.csv --action shown --reward clicked     propose the rest
  seqel data check sessions.csv.gz --schema schema.toml   check with the schema
  seqel data check sessions.parquet --html report.html    write a page with plots
  seqel data check sessions.csv --schema schema.toml --group gender    do the recorded actions differ between groups?
  seqel data check "2026-*.jsonl" --schema schema.toml --json
  seqel data dialogues chats.jsonl --out table.jsonl --outcome resolved=1 --outcome lost=-1
                                                          then: seqel train --data table.jsonl --schema table.toml
"""

PATIENCE = 3.0  # seconds between progress messages
ROLES = ("session", "order", "action", "reward")
FOR_DIALOGUES = ("what", "files", "out", "outcome", "json")
MOST = 12  # actions and columns shown; --json has all


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel data`."""

    what: Annotated[
        Literal["check", "dialogues"],
        Positional,
        arg(
            help="check: read a table and report its content; dialogues: make a table from dialogues",
            help_behavior_hint="",
        ),
    ]
    files: Annotated[
        tuple[str, ...],
        Positional,
        arg(metavar="FILE", help="CSV, JSON lines (both also .gz) or Parquet, or a pattern", help_behavior_hint=""),
    ]
    schema: Annotated[
        Path | None,
        arg(metavar="TOML", help="describes the columns; without it, one is proposed", help_behavior_hint=""),
    ] = None
    write: Annotated[
        Path | None, arg(metavar="TOML", help="write the proposed schema to this file", help_behavior_hint="")
    ] = None
    session: Annotated[
        str | None,
        arg(metavar="COLUMN", help="propose a schema with this session column", help_behavior_hint="", constructor=str),
    ] = None
    order: Annotated[
        str | None, arg(metavar="COLUMN", help="... with this order column", help_behavior_hint="", constructor=str)
    ] = None
    action: Annotated[
        str | None, arg(metavar="COLUMN", help="... with this action column", help_behavior_hint="", constructor=str)
    ] = None
    reward: Annotated[
        str | None, arg(metavar="COLUMN", help="... with this reward column", help_behavior_hint="", constructor=str)
    ] = None
    cache: Annotated[
        Path | None, arg(metavar="DIR", help="folder of the imported table", help_behavior_hint="(default: .seqel)")
    ] = None
    html: Annotated[
        Path | None,
        arg(metavar="FILE", help="write an HTML report with plots to this file", help_behavior_hint=""),
    ] = None
    group: Annotated[
        str | None,
        arg(metavar="COLUMN", help="compare the sessions by this column, which need not be observed", help_behavior_hint="",
            constructor=str),
    ] = None  # fmt: skip
    out: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="dialogues: the table to write (JSON lines), with a schema beside it",
            help_behavior_hint="",
        ),
    ] = None
    outcome: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=REWARD", help="dialogues: the reward of an outcome", help_behavior_hint="(repeatable)"),
    ] = ()
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Propose or read the schema, import, analyse. Returns the result of `analyse`, and the schema.

    For dialogues: what was converted.
    """
    from rich.markup import escape

    from seqel.datasets.dataset import load
    from seqel.datasets.inspection.analysis import analyse
    from seqel.datasets.inspection.propose import draft
    from seqel.datasets.schema import Schema
    from seqel.errors import ConfigError
    from seqel.storage import atomic_write

    if not arguments.files:
        raise ConfigError("expected at least one FILE")
    if arguments.what == "dialogues":
        from seqel.cli.dialogues import convert

        for one in fields(arguments):
            if one.name not in FOR_DIALOGUES and getattr(arguments, one.name) is not None:
                raise ConfigError(f"--{one.name} is for: seqel data check")
        return convert(arguments.files, arguments.out, arguments.outcome, output)
    if arguments.out is not None or arguments.outcome:
        raise ConfigError(f"--{'outcome' if arguments.out is None else 'out'} is for: seqel data dialogues")
    unsure: list[str] = []
    given = {role: name for role in ROLES if (name := getattr(arguments, role)) is not None}
    if arguments.schema is not None:
        if given:
            raise ConfigError(f"--{next(iter(given))} is for a proposed schema: leave out --schema, or change it there")
        if arguments.write is not None:
            raise ConfigError("--write is for a proposed schema: leave out --schema, or leave out --write")
        schema = Schema.load(arguments.schema)
    else:
        if arguments.write is not None and arguments.write.exists():
            raise ConfigError(f"--write: {arguments.write} exists already; give another name, or remove it")
        proposal = draft(arguments.files, given)
        unsure = proposal.unsure
        _show_proposal(proposal.to_toml(), unsure, output)
        if arguments.write is not None:
            atomic_write(arguments.write, proposal.to_toml())
        if proposal.schema is None:
            raise _still_open(proposal.open, arguments.write)
        schema = proposal.schema
    output.note("reading the table (the first time takes longest) ...")
    dataset = load(arguments.files, schema, arguments.cache, duplicates="first", progress=_progress(output))
    found = analyse(dataset)
    _show(found, dataset, output)
    groups = {}
    if arguments.group is not None:
        from seqel.cli.groups import show_groups
        from seqel.datasets.inspection.groups import column_of_sessions, session_metrics

        column = column_of_sessions(dataset, arguments.files, arguments.group)
        groups = {"groups": show_groups(session_metrics(dataset), column, arguments.group, output)}
    if arguments.write is not None:
        output.show("", f"written: {arguments.write}")
    if arguments.html is not None:
        from seqel.datasets.inspection.report import html_page

        atomic_write(arguments.html, html_page(found, dataset, arguments.files, schema.to_toml()))
        output.show("", f"report: {escape(str(arguments.html))}")
    return {
        "files": list(arguments.files),
        "schema": schema.to_json(),
        "proposed": arguments.schema is None,
        "unsure": unsure,
        **found,
        **groups,
    }


def _progress(output: Output) -> Callable[[float], None]:
    """Return a function that reports from time to time how much of the table is read."""
    last = time.monotonic()

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > PATIENCE:
            last = time.monotonic()
            output.note(f"  {share:.0%} read")

    return tell


def _still_open(roles: dict[str, list[str]], written: Path | None) -> ConfigError:
    from seqel.errors import ConfigError

    parts = [f"--{role} ({', '.join(names) if names else 'no column looks possible'})" for role, names in roles.items()]
    where = f', or fill in the "?" of {written} and run again with --schema {written}' if written else ""
    return ConfigError(f"it is not clear which column is the {' and the '.join(roles)}: give {', '.join(parts)}{where}")


def _show_proposal(schema: str, unsure: list[str], output: Output) -> None:
    from rich.markup import escape

    output.show("[bold]proposed schema[/]", escape(schema))
    for text in unsure:
        output.show(f"[yellow]unsure[/] {escape(text)}")
    output.show("")


def _show(found: dict[str, Any], dataset: Dataset, output: Output) -> None:
    from rich.cells import cell_len
    from rich.markup import escape
    from rich.table import Table

    from seqel.datasets.inspection.analysis import bar, by_column, shortened

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("rows", f"{found['rows']:,} in {found['sessions']:,} sessions")
    table.add_row("lengths", _spread(found["lengths"], "transitions per session"))
    table.add_row("ends", f"{found['terminated']:,} terminated, {found['truncated']:,} truncated")
    reward = found["reward"]
    table.add_row("reward", f"mean {reward['mean']:.4g}, std {reward['std']:.4g}, zero in {reward['zero']:.1%}")
    most = max(one["count"] for one in reward["histogram"])
    for one in reward["histogram"]:
        label = f"{one['from']:.4g}" if one["from"] == one["to"] else f"{one['from']:.4g} to {one['to']:.4g}"
        table.add_row("", f"{label:>24}  {bar(one['count'] / most)} {one['count']:,}")
    table.add_row("return", _spread(found["returns"], "per session (undiscounted)"))
    table.add_row("actions", _count(found["trained_on"]["actions"]))
    for actions in by_column(found):
        for one, name in zip(actions[:MOST], shortened([one["name"] for one in actions[:MOST]]), strict=True):
            label = " " * (24 - cell_len(name)) + name  # a Chinese character takes two cells
            table.add_row("", f"{escape(label)}  {bar(one['share'])} {one['share']:.1%}")
        if len(actions) > MOST:
            table.add_row("", f"{'':>24}  and {len(actions) - MOST} more")
    missing = [f"{escape(name)} {share:.2%}" for name, share in list(found["missing"].items())[:MOST]]
    table.add_row("missing", ", ".join(missing) or "nothing")
    table.add_row("duplicates", f"{found['duplicates']:,}")
    table.add_row("out of order", f"{found['out_of_order']:,}")
    behaviour = found["behaviour"]
    table.add_row(
        "probabilities",
        "of the recorded actions: unknown, to be estimated"
        if behaviour is None
        else f"known for {behaviour['known']:.1%}, {behaviour['min']:.3g} to {behaviour['max']:.3g}",
    )
    trained = found["trained_on"]
    for leaf in dataset.observation.leaves:
        table.add_row("observes", f"[cyan]{escape(str(leaf))}[/]")
    table.add_row(
        "training data",
        f"{trained['transitions']:,} transitions of {trained['sessions']:,} sessions; {trained['held_out_sessions']:,} "
        f"more sessions are held out; {_count(trained['actions'])} actions{', masked' if trained['masked'] else ''}",
    )
    output.show(table)
    for warning in found["warnings"]:
        output.show(f"[yellow]note[/] {escape(warning)}")


def _spread(found: dict[str, float], what: str) -> str:
    return f"{found['min']:.4g} to {found['max']:.4g} {what}, middle half {found['25%']:.4g} to {found['75%']:.4g}"


def _count(actions: int | list[int]) -> str:
    """ "4", or "3 x 2" where several are taken at once."""
    return " x ".join(map(str, actions)) if isinstance(actions, list) else str(actions)
