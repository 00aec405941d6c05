"""The program `seqel`: finds the command, reads its arguments, and turns every failure into one message.

A command is a module of this package with SUMMARY, EXAMPLES, a dataclass `Arguments` (read by tyro) and a function
`run(arguments, output)`. It is imported only when it is used, so that `seqel --help` imports nothing heavy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seqel.cli.output import USAGE, Output, UsageExit, guarded
from seqel.cli.process import prepare_process
from seqel.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "check": "show how Seqel reads an environment, and what to expect of training: start here",
    "data": "check a table of recorded sessions, or make one from dialogues",
    "train": "train an agent, or continue a run (--resume)",
    "evaluate": "play greedy episodes on fresh seeds, or estimate the return from recorded sessions",
    "explain": "show which past steps a decision depends on, in the terminal or as a page",
    "report": "write a page about runs: curves, returns, calibration of values, a comparison",
    "calibrate": "choose when an agent abstains, so that its mean error per session stays below a bound",
    "generate": "write text with an agent that was trained on texts",
    "chat": "talk to an agent that was trained on recorded dialogues",
    "rank": "rank the items of a catalogue for users, from the items that they chose before",
    "watch": "read messages about companies as they arrive, and raise alerts",
    "compress": "make an agent smaller and faster: pruning, distillation, 8-bit weights",
    "export": "export an agent to one ONNX file, and compare the file with the agent",
    "serve": "serve an agent over HTTP, with sessions",
    "review": "take the decisions that an agent abstained from, and export them as training data",
    "audit": "check that the log of a service's decisions was not changed later",
    "monitor": "monitor a service in the terminal, write the reference of an agent, report drift",
    "settings": "list every setting with its meaning, range and default, and what the presets change",
    "tasks": "list the tasks that come with Seqel",
    "bench": "time updates, acting, replay sampling and environments on this machine",
    "demo": "watch an agent learn to remember, in parallel with the same agent without memory",
}

HELP = """usage: seqel [-h] [--version] COMMAND ...

Seqel: Q-learning with a memory. Trains a Transformer over the history as the Q-network of a
Deep Q-Learning agent, on any Gymnasium environment.

commands:
{commands}

ENV is a registered id (CartPole-v1), module:Id-v0, or your own class as module:ClassName.
Every command takes --help, and --json for one JSON object on standard output.

examples:
  seqel demo                                        takes a few minutes, needs no preparation
  seqel check my_project:MyEnv                      how does Seqel read my environment?
  seqel data check sessions.parquet                 recorded sessions: what do they contain?
  seqel train my_project:MyEnv --out runs/mine      train on it; Ctrl-C saves
  seqel train --resume runs/mine                    continue where the run stopped
  seqel evaluate runs/mine --episodes 200           how good is it, with intervals
  seqel explain runs/mine --out episode.html        what its decisions depend on
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (0: success)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        return _printed(_help(), sys.stdout if arguments else sys.stderr, 0 if arguments else USAGE)
    if arguments[0] in ("-V", "--version"):
        return _printed(f"seqel {__version__}\n", sys.stdout, 0)
    return guarded(
        lambda output: _run(arguments, output), as_json="--json" in arguments and not {"-h", "--help"} & {*arguments}
    )


def _run(arguments: list[str], output: Output) -> Any:
    name, *rest = arguments
    if name not in COMMANDS:
        from difflib import get_close_matches

        from seqel.errors import ConfigError

        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no command {name!r}{hint or '.'} Known: {', '.join(COMMANDS)}")
    prepare_process()
    module = import_module(f"seqel.cli.{name}")
    import tyro

    try:
        parsed = tyro.cli(module.Arguments, prog=f"seqel {name}", description=module.SUMMARY, args=rest)
    except SystemExit as stop:
        if stop.code in (0, None):
            print(f"\n{module.EXAMPLES.strip()}")
        raise UsageExit(stop.code) from stop
    return module.run(parsed, output)


def _printed(text: str, file: Any, code: int) -> int:
    return guarded(lambda output: (file.write(text), code), as_json=False)


def _help() -> str:
    return HELP.format(commands="\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items()))


if __name__ == "__main__":
    sys.exit(main())
