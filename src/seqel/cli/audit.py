"""`seqel audit verify FILE` and `seqel audit head FILE`: the log of decisions that `seqel serve --audit FILE` writes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from seqel.cli.arguments import Json
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "Check that the log of a service's decisions was not changed: each line contains the hash of the previous line."
)

EXAMPLES = """
`verify` names the first bad line and says why. The exit code is 0 if the log is intact, else 1; "torn" means that only the
last line is incomplete, as after a crash. Lines that were removed at the end are detected only with a head, which `head`
prints: keep it elsewhere. If the service had a key in SEQEL_AUDIT_KEY, both need the same key.

examples:
  seqel serve runs/mine --audit decisions.log
  seqel audit head decisions.log                              keep its output in another place
  seqel audit verify decisions.log --count 1200 --head 5f0c...  later: are these lines still the same?
  seqel audit verify decisions.log --json
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel audit`."""

    what: Annotated[
        Literal["verify", "head"],
        Positional,
        arg(help="verify: check every line; head: the same, and print where the log ends", help_behavior_hint=""),
    ]
    file: Annotated[Path, Positional, arg(metavar="FILE", help="the log", help_behavior_hint="")]
    count: Annotated[
        int | None,
        arg(
            metavar="N",
            help="with --head: the number of lines that `head` printed",
            help_behavior_hint="",
            constructor=int,
        ),
    ] = None
    head: Annotated[
        str | None, arg(metavar="HASH", help="the hash that `head` printed", help_behavior_hint="", constructor=str)
    ] = None
    json: Json = False


def run(arguments: Arguments, output: Output) -> tuple[dict[str, Any], int]:
    """Check a log. Returns the finding, and the exit code."""
    from rich.markup import escape

    from seqel.safety.audit import Head, key_from_environment, verify

    if (arguments.count is None) != (arguments.head is None):
        raise ConfigError("expected --count and --head together: they are what `seqel audit head` printed")
    anchor = None
    if arguments.count is not None and arguments.head is not None:
        if arguments.count < 1:
            raise ConfigError(f"--count: expected at least 1, got {arguments.count}")
        anchor = Head(arguments.count, arguments.head)
    found = verify(arguments.file, key_from_environment(), anchor)
    if arguments.what == "head" and found.status == "intact":
        output.show(f"--count {found.head.count} --head {found.head.hash}")
    else:
        where = "" if found.line is None else f", line {found.line}: {found.reason}"
        output.show(f"[bold]{found.status}[/]{escape(where)}")
        lines = f"{found.head.count:,} lines are intact"
        torn = f", {found.recovered} torn lines were recovered from" if found.recovered else ""
        output.show(
            f"{lines}{torn}; without --head, lines removed at the end do not show"
            if anchor is None
            else f"{lines}{torn}"
        )
    return asdict(found), 0 if found.status == "intact" else 1
