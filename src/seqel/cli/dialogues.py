"""`seqel data dialogues FILE --out TABLE`: makes a table of sessions of recorded dialogues."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from seqel.cli.arguments import pairs
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.cli.output import Output

__all__ = ["convert"]

MOST = 12  # actions that are shown; --json has all


def convert(files: tuple[str, ...], out: Path | None, outcome: tuple[str, ...], output: Output) -> dict[str, Any]:
    """Write the table and its schema. Returns both files, and what was found in the dialogues.

    outcome: what outcomes with a name are worth, "NAME=REWARD".
    """
    from rich.markup import escape
    from rich.table import Table

    from seqel.datasets.dialogues import convert_dialogues
    from seqel.datasets.inspection.analysis import bar

    if out is None:
        raise ConfigError("seqel data dialogues: expected --out FILE, the table to write, such as table.jsonl")
    if out.suffix == ".toml":
        raise ConfigError(f"--out: expected a name like table.jsonl, because the schema is the .toml, got {out}")
    outcomes: dict[str, float] = {}
    for name, value in pairs(outcome, "--outcome").items():
        try:
            outcomes[name] = float(value)
        except ValueError:
            raise ConfigError(f"--outcome {name}: expected a number, got {value!r}") from None
    found = convert_dialogues(files, out, outcomes)
    schema = out.with_suffix(".toml")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("dialogues", f"{found.dialogues:,} with {found.rows:,} decisions")
    if found.without_decision:
        table.add_row("", f"{found.without_decision:,} more, without a decision, were left out")
    for place, (name, count) in enumerate(list(found.actions.items())[:MOST]):
        table.add_row(
            "" if place else "actions", f"{escape(name):>24}  {bar(count / found.rows)} {count / found.rows:.1%}"
        )
    if len(found.actions) > MOST:
        table.add_row("", f"{'':>24}  and {len(found.actions) - MOST} more")
    for place, (name, count) in enumerate(found.outcomes.items()):
        table.add_row("" if place else "outcomes", f"{escape(name):>24}  {_times(count)}, worth {outcomes[name]:g}")
    if found.without_outcome:
        table.add_row(
            "" if found.outcomes else "outcomes", f"{'not known':>24}  {_times(found.without_outcome)}, worth 0"
        )
    output.show(table)
    output.show("", f"written: {out} and {schema}")
    output.show(f"next: seqel data check {out} --schema {schema}")
    return {"table": str(out), "schema": str(schema), **asdict(found)}


def _times(count: int) -> str:
    return f"{count:,} time{'' if count == 1 else 's'}"
