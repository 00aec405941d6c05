"""`seqel tasks`: the tasks that come with Seqel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqel.cli.arguments import Json

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "List the tasks that come with Seqel, over how many steps each needs memory, and when it counts as solved."

EXAMPLES = """
examples:
  seqel tasks
  seqel train seqel/TMaze-v0 --env-arg length=100       any length
  seqel tasks --json | jq -r '.tasks[].id'
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel tasks`."""

    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Show the table of tasks. Returns {"tasks": [a `Task` as a dict, ...]}."""
    from rich.table import Table

    from seqel.tasks.registry import TASKS

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task", style="cyan", no_wrap=True)
    table.add_column("task")
    table.add_column("memory", justify="right")
    table.add_column("solved at", justify="right")
    for task in TASKS:
        solved = "" if task.threshold is None else f"{task.threshold:g}"
        needs = f" [dim](needs --env-arg {task.needs})[/]" if task.needs else ""
        table.add_row(task.id, f"{task.summary}{needs}", f"{task.memory} steps", solved)
    sources = sorted({task.reference for task in TASKS if task.reference})
    output.show(table, f"\nFrom {'; '.join(sources)}.")
    output.show("Train on one: [cyan]seqel train seqel/TMaze-v0[/]; any Gymnasium id works as well.")
    return {"tasks": [dataclasses.asdict(task) for task in TASKS]}
